"""`track` and `cancel`: what came of them."""

import json

import pytest

ENDPOINT = "fal-ai/flux/dev"


@pytest.fixture
def stuck(town):
    """Return the id of a request that never starts by itself."""
    stdin = '{"simulate": "stuck"}'
    return town.run("submit", ENDPOINT, "--input", "-", stdin=stdin).stdout.strip()


def test_a_queued_request_is_removed(town, stuck):
    """Cancelling a queued request says that fal took it out, and its life ends cancelled."""
    shown = town.run("cancel", stuck)
    row = json.loads(town.run("timeline", stuck, "--json").stdout.splitlines()[0])

    assert (0, "removed: fal took it out of the queue\n") == (shown.returncode, shown.stdout)
    assert "cancelled" == row["state"]


def test_a_submission_id_cancels_as_well(town):
    """A cancel by our own id reaches the request that the submission became."""
    stdin = '{"simulate": "stuck"}'
    sent = town.run("submit", ENDPOINT, "--input", "-", "--json", stdin=stdin)

    shown = town.run("cancel", json.loads(sent.stdout)["submission_id"], "--json")

    assert (0, "removed") == (shown.returncode, json.loads(shown.stdout)["outcome"])


def test_what_has_ended_is_not_cancelled(town):
    """A request that succeeded exits 1: there was nothing left to stop."""
    sent = town.run("submit", ENDPOINT, "--input", "-", "--wait", "--json", stdin="{}")

    shown = town.run("cancel", json.loads(sent.stdout)["request_id"])

    assert (1, "ended: it has ended: succeeded\n") == (shown.returncode, shown.stdout)


def test_a_request_of_somebody_else_can_be_tracked(town, stuck):
    """After `track` the request is known with its endpoint."""
    shown = town.run("track", ENDPOINT, stuck, "--json")

    assert 0 == shown.returncode, shown.stderr
    assert {"request_id": stuck, "outcome": "tracked"} == json.loads(shown.stdout)


@pytest.mark.parametrize(
    "arguments",
    [["track", "flux", "019f6af7-3088-7f03-b97d-84fec4a3ce12"], ["track", ENDPOINT, "17"]],
)
def test_what_cannot_be_tracked_is_a_usage_error(folder, arguments):
    """A wrong endpoint or request id exits 2 before anything is asked."""
    shown = folder.run(*arguments)

    assert (2, "") == (shown.returncode, shown.stdout)


def test_without_a_serve_nothing_is_asked(folder):
    """`cancel` and `track` need a running `serve`, and say so."""
    request = "019f6af7-3088-7f03-b97d-84fec4a3ce12"

    shown = [folder.run("cancel", request), folder.run("track", ENDPOINT, request)]

    assert [1, 1] == [one.returncode for one in shown]
    assert all("no `fal-consumer serve` runs on" in one.stderr for one in shown)


def test_a_group_is_cancelled_by_its_name(town):
    """What waits in a group is removed, and what comes later under its name is never sent."""
    stdin, arguments = '{"simulate": "stuck"}', ("submit", ENDPOINT, "--input", "-")
    sent = town.run(*arguments, "--group", "batch-7", stdin=stdin).stdout.strip()

    shown = town.run("cancel", "--group", "batch-7", "--json")
    late = town.run(*arguments, "--group", "batch-7", stdin=stdin)

    assert {"group": "batch-7", "outcome": "asked"} == json.loads(shown.stdout)
    assert (1, "") == (late.returncode, late.stdout)
    assert "its group is cancelled for good" in late.stderr
    became = "removed from the queue (group; fal said OK)"
    assert any(became in town.run("timeline", sent).stdout for _ in range(300))


@pytest.mark.parametrize("arguments", [[], ["sub_1", "--group", "g"]])
def test_a_cancel_names_one_thing(folder, arguments):
    """A cancel of nothing, or of two things, exits 2."""
    shown = folder.run("cancel", *arguments)

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "give either an ID or --group NAME" in shown.stderr
