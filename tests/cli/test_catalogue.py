"""`models`, `pricing`, `estimate` and `jwks`: what fal offers, what it costs, its keys."""

import json

import pytest

from tests.cli.asking_fal import ENDPOINT, line

slow = pytest.mark.slow  # a simulator of its own


def lines(shown):
    return [json.loads(text) for text in shown.stdout.splitlines()]


@slow
def test_models_are_a_table(lone_fal):
    """Each model has its id, category, status and name; what is beyond the limit is told."""
    shown = lone_fal.run("models", "flux", "--limit", "3")

    heading, *rows = shown.stdout.splitlines()
    assert 0 == shown.returncode, shown.stderr
    assert ["MODEL", "CATEGORY", "STATUS", "NAME"] == heading.split()
    assert 3 == len(rows)
    assert all("flux" in row for row in rows)
    assert "the first 3; there may be more (--limit)" in shown.stderr


@slow
def test_models_are_lines_for_programs(lone_fal):
    """With --json each model is whole; filters hold."""
    shown = lone_fal.run("models", "--category", "text-to-video", "--status", "active", "--json")

    found = lines(shown)
    assert found
    assert {("text-to-video", "active")} == {
        (one["metadata"]["category"], one["metadata"]["status"]) for one in found
    }


@slow
def test_models_are_found_by_id_with_their_schema(lone_fal):
    """--id with --openapi gives the document that a program builds inputs from."""
    found = line(lone_fal.run("models", "--id", ENDPOINT, "--openapi", "--json"))

    assert ENDPOINT == found["endpoint_id"]
    assert found["openapi"]["openapi"].startswith("3.")


@slow
def test_no_model_is_no_error(lone_fal):
    """A search without a match exits 0 and says so."""
    shown = lone_fal.run("models", "nothing-is-called-like-this")

    assert (0, "") == (shown.returncode, shown.stdout)
    assert "no such models" in shown.stderr


@slow
def test_prices_are_shown_although_one_is_unknown(lone_fal):
    """The known ones are a table, the unknown one is named, and the exit code tells."""
    shown = lone_fal.run("pricing", ENDPOINT, "nobody/knows")

    heading, row = shown.stdout.splitlines()
    assert 1 == shown.returncode
    assert ["MODEL", "PRICE", "CURRENCY", "PER"] == heading.split()
    assert [ENDPOINT, "USD"] == [row.split()[0], row.split()[2]]
    assert "fal names no price for nobody/knows" in shown.stderr


@slow
def test_more_prices_than_one_call_takes(lone_fal):
    """Any number of endpoints is one command; each is there once."""
    every = [one["endpoint_id"] for one in lines(lone_fal.run("models", "--json", "--limit", "60"))]

    shown = lone_fal.run("pricing", "--json", *every, *every)

    assert 0 == shown.returncode, shown.stderr
    assert every == [one["endpoint_id"] for one in lines(shown)]


@slow
def test_an_estimate_has_the_quantities_and_one_total(lone_fal):
    """Units of several endpoints, and what they cost together."""
    arguments = ("estimate", "--units", f"{ENDPOINT}=2.5", "fal-ai/flux/schnell=1")

    shown = lone_fal.run(*arguments)
    found = line(lone_fal.run(*arguments, "--json"))

    rows = [row.split() for row in shown.stdout.splitlines()]
    assert ["MODEL", "UNITS", "COST"] == rows[0]
    assert [ENDPOINT, "2.5"] == rows[1]
    assert ["total", "USD"] == [rows[-1][0], rows[-1][-1]]
    assert {ENDPOINT: "2.5", "fal-ai/flux/schnell": "1"} == found["quantities"]
    assert float(found["total_cost"]) == pytest.approx(float(rows[-1][1]), abs=1e-6)


@slow
def test_calls_are_estimated_by_history(lone_fal):
    """Without --units the numbers are calls."""
    found = line(lone_fal.run("estimate", f"{ENDPOINT}=100", "--json"))

    assert "historical_api_price" == found["estimate_type"]


@slow
def test_keys_are_shown_with_when_to_look_again(lone_fal):
    """Each usable key has its id; the set says when it was fetched and when to fetch it anew."""
    shown = lone_fal.run("jwks")
    found = line(lone_fal.run("jwks", "--json"))

    assert [key["kid"] for key in found["keys"]] == [
        row.split()[0] for row in shown.stdout.splitlines()[1:]
    ]
    assert found["fetched_at"] < found["refresh_at"]
    assert "to be fetched again within" in shown.stderr


@slow
def test_keys_need_no_key(lone_fal):
    """The key set is public."""
    environ = {name: text for name, text in lone_fal.environ.items() if name != "FAL_KEY"}

    shown = type(lone_fal)(lone_fal.path, environ).run("jwks", "--json")

    assert 0 == shown.returncode, shown.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["models", "--id", "../.."], "ENDPOINT: expected owner/app"),
        (["models", "--openapi"], "--json"),
        (["models", "--status", "gone"], "not one of"),
        (["pricing"], "Missing argument"),
        (["pricing", "a/b", "https://evil.example"], "ENDPOINT: expected owner/app"),
        (["estimate", "a/b=0"], "a number above 0"),
        (["estimate", "a/b=-1"], "a number above 0"),
        (["estimate", "a/b=NaN"], "a number above 0"),
        (["estimate", "a/b=1e999999999"], "a number above 0"),
        (["estimate", "a/b=many"], "expected ENDPOINT=NUMBER"),
        (["estimate", "a/b=1.5"], "whole numbers"),
        (["estimate", "a/b=1", "a/b=2"], "twice"),
        (["estimate", "../..=1"], "ENDPOINT: expected owner/app"),
    ],
)
def test_wrong_arguments_cause_no_call(unasked, arguments, said):
    """What cannot be asked is a usage error, and nobody is asked."""
    shown = unasked.run(*arguments)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert said in shown.stderr


def test_a_missing_key_is_a_sentence(folder):
    """Without a key the platform is not asked; it is said where keys come from."""
    shown = folder.run("pricing", ENDPOINT)

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "there is no fal key\n  set FAL_KEY or FAL_KEY_FILE" in shown.stderr
