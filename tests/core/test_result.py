"""Result events: what is published for an end, and when it is published again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core import result as result_module
from consumer.core.completion import Completion
from consumer.core.event import Event, EventType, decode, encode
from consumer.core.fact import FactName
from consumer.core.result import (
    MAX_OUTPUT_BYTES,
    Correlation,
    Media,
    OutputMissing,
    Result,
    bare_result,
    media_in,
    next_revision,
    published_of,
    result_event,
    result_from,
    result_of,
)
from consumer.core.standing import RANK, Published, State
from consumer.core.text import dump_json
from consumer.errors import UndecodableEvent
from tests.core.strategies import (
    ENDS,
    NOW,
    REQUEST_ID,
    completions,
    json_values,
    results,
    texts,
)

CORRELATION = Correlation("sub_1", "c1", "a/b", (("team", "\ud800\0"),))
OUTCOMES = ["lost", "cancelled", "failed", "succeeded"]


def offered(outcome: str, missing: str | None = None) -> Result:
    return bare_result(
        outcome,
        CORRELATION,
        request_id=REQUEST_ID,
        reason=None,
        witness="result",
        ended_at=NOW,
        output_missing=missing,
    )


@given(results)
def test_what_is_published_is_read(result):
    """A result survives its event, text with NUL and surrogates included."""
    event = result_event(result, source="s", at=NOW)

    assert result_from(event) == result
    if event.subject.isascii():
        record = encode(event)
        assert decode(record.headers, record.value) == event


@given(completions)
def test_any_completion_has_a_result(completion):
    """Every completion makes a result that can be written and read again."""
    result = result_of(completion, CORRELATION, witness="webhook", ended_at=NOW)

    assert result_from(result_event(result, source="s", at=NOW)) == result
    assert (result.output, result.output_missing) == (completion.output, None)


def test_result_names_what_a_submitter_knows():
    """A result carries what its submitter correlates by, and the model's own words."""
    completion = Completion(
        REQUEST_ID,
        FactName.FAILED,
        422,
        "e",
        "t",
        has_output=True,
        output={"detail": []},
        billable_units="1.5",
    )

    result = result_of(completion, CORRELATION, witness="webhook", ended_at=NOW)

    assert result == Result(
        request_id=REQUEST_ID,
        submission_id="sub_1",
        command_id="c1",
        endpoint="a/b",
        tags={"team": "\ud800\0"},
        outcome="failed",
        witness="webhook",
        http_status=422,
        error="e",
        error_type="t",
        output={"detail": []},
        billable_units="1.5",
        ended_at="2026-01-01T12:00:00.000000Z",
    )


@pytest.mark.parametrize(
    "fields, output, missing",
    [
        ({"has_output": True, "output": None}, None, None),
        ({"has_output": False}, None, "unavailable"),
        ({"has_output": False, "output_missing": "expired"}, None, "expired"),
        ({"has_output": True, "output": "x" * (MAX_OUTPUT_BYTES - 2)}, 1, None),
        ({"has_output": True, "output": "x" * (MAX_OUTPUT_BYTES - 1)}, None, "too_large"),
        ({"has_output": True, "output": float("inf")}, None, "unavailable"),
        ({"output_base64": "A" * (MAX_OUTPUT_BYTES + 1)}, None, "too_large"),
    ],
    ids=["null", "none", "expired", "at the limit", "over", "infinite", "base64 over"],
)
def test_output_is_carried_or_its_absence_explained(fields, output, missing):
    """An output that cannot be carried is null, with the reason."""
    completion = Completion(REQUEST_ID, FactName.SUCCEEDED, 200, **fields)

    result = result_of(completion, CORRELATION, witness="result", ended_at=NOW)

    assert (result.output is not None, result.output_missing) == (output is not None, missing)


def test_other_outputs_travel_as_base64():
    """An output that is not JSON is base64 with its content type."""
    completion = Completion(
        REQUEST_ID, FactName.SUCCEEDED, 200, output_base64="AAAA", content_type="image/png"
    )

    result = result_of(completion, Correlation(), witness="result", ended_at=NOW)

    assert (result.output_base64, result.content_type) == ("AAAA", "image/png")
    assert (result.output, result.output_missing, result.media) == (None, None, [])


def test_submission_without_a_request_has_a_result():
    """A submission that ends without a request id has a result under its own id."""
    result = bare_result(
        "failed", CORRELATION, reason="refused", witness="submit", ended_at=NOW, http_status=422
    )

    event = result_event(result, source="s", at=NOW)

    assert (event.type, event.subject) == (EventType.RESULT, "sub_1")
    assert (result.request_id, result.reason, result.http_status) == (None, "refused", 422)


def test_ids_are_of_subject_and_revision():
    """A result's id names subject and revision, so that a revision exists once."""
    one, other = offered("lost"), offered("failed")
    second = one.model_copy(update={"revision": 2})
    ids = [result_event(result, source="s", at=NOW).id for result in (one, other, second)]

    assert ids[0] == ids[1] != ids[2]
    assert result_event(Result(outcome="lost", witness="w", ended_at=""), source="s", at=NOW).id


@pytest.mark.parametrize(
    "data, part",
    [
        (b"{", "data"),
        (b"[]", ""),
        (b"{}", "outcome"),
        (dump_json({"outcome": "exploded", "witness": "w", "ended_at": ""}), "outcome"),
        (dump_json({"outcome": "lost", "witness": "w", "ended_at": "", "revision": 0}), "revision"),
        (dump_json({"outcome": "lost", "witness": "w", "ended_at": "", "media": [1]}), "media.0"),
    ],
)
def test_what_is_no_result_is_named(data, part):
    """A record that is no result is refused by the part that is wrong."""
    with pytest.raises(UndecodableEvent) as refused:
        result_from(Event(EventType.RESULT, "i", "s", "r", NOW, data))

    assert refused.value.part == part


@given(st.sampled_from(list(Result.model_fields)), json_values)
def test_any_mutation_is_a_result_or_undecodable(name, value):
    """A result with any one field replaced is read or refused, and its outcome is a state."""
    data = dump_json(offered("lost").model_dump() | {name: value})
    try:
        result = result_from(Event(EventType.RESULT, "i", "s", "r", NOW, data))
    except UndecodableEvent:
        return
    assert published_of(result).outcome in OUTCOMES


# ---------------------------------------------------------------- revisions


def test_first_result_is_revision_one():
    """Where nothing is published, anything is revision 1."""
    assert [next_revision(None, offered(outcome)) for outcome in OUTCOMES] == [1] * 4


@pytest.mark.parametrize("held", OUTCOMES)
@pytest.mark.parametrize("new", OUTCOMES)
@pytest.mark.parametrize("held_missing", [None, "expired"])
@pytest.mark.parametrize("new_missing", [None, "unavailable"])
def test_revision_needs_a_better_truth(held, new, held_missing, new_missing):
    """A revision outranks the published one, or fills its missing output; nothing else is one."""
    published = Published(revision=4, outcome=held, witness="webhook", output_missing=held_missing)
    rise = OUTCOMES.index(new) - OUTCOMES.index(held)
    is_better = rise > 0 or (rise == 0 and held_missing is not None and new_missing is None)

    assert next_revision(published, offered(new, new_missing)) == (5 if is_better else None)


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.sampled_from([None, "expired"]))))
def test_revisions_end(offers):
    """Whatever is offered, outcomes never fall and each is revised twice at most."""
    held = None
    for outcome, missing in offers:
        revision = next_revision(held, offered(outcome, missing))
        if revision is None:
            continue
        assert revision == (held.revision + 1 if held else 1)
        assert held is None or RANK[State(outcome)] >= RANK[State(held.outcome)]
        held = Published(revision=revision, outcome=outcome, witness="w", output_missing=missing)
    assert held is None or held.revision <= 8


def test_ledger_remembers_what_decides():
    """What the ledger keeps of a result is what decides about the next revision."""
    result = offered("lost", "expired").model_copy(update={"revision": 3, "billable_units": "2"})

    assert published_of(result) == Published(
        revision=3, outcome="lost", witness="result", billable_units="2", output_missing="expired"
    )
    assert {str(missing) for missing in OutputMissing} == {
        "too_large",
        "expired",
        "endpoint_unknown",
        "unavailable",
    }
    assert set(OUTCOMES) >= {str(end) for end in ENDS}


# ---------------------------------------------------------------- media


def test_media_are_found_wherever_models_put_them():
    """Https URLs in `url` and `…_url` fields are media, with type and name beside `url`."""
    output = {
        "images": [{"url": "https://a/1.png", "content_type": "image/png", "file_name": "1.png"}],
        "video": {"url": "https://a/2.mp4", "content_type": None, "file_name": 7},
        "preview_url": "https://a/3.webp",
        "url": "http://a/4",
        "log_url": 5,
        "text": "https://a/6",
    }

    assert media_in(output) == [
        Media(url="https://a/1.png", content_type="image/png", file_name="1.png"),
        Media(url="https://a/2.mp4"),
        Media(url="https://a/3.webp"),
    ]


def test_media_are_bounded_in_number():
    """A hundred files are found, in lists as in one object, and no more."""
    many = [{"url": f"https://a/{n}"} for n in range(150)]
    wide = {f"{n}_url": f"https://a/{n}" for n in range(150)}

    assert [len(media_in(many)), len(media_in(wide))] == [100, 100]


def test_media_are_bounded_in_depth():
    """A file eight levels down is found, one below that is not."""
    found = []
    for depth in (8, 9):
        output = {"url": "https://a/1"}
        for _ in range(depth):
            output = {"in": output}
        found.append(len(media_in(output)))

    assert found == [1, 0]


@given(st.recursive(json_values, lambda inner: st.fixed_dictionaries({"url": texts, "a": inner})))
def test_any_output_has_a_list_of_media(output):
    """Any JSON value is walked without an error, and what is found is https."""
    assert all(media.url.startswith("https://") for media in media_in(output))


def test_limits_are_the_documented_ones():
    """The bounds of the walk are what the documentation of `media_in` says."""
    assert (result_module._MAX_MEDIA, result_module._MAX_MEDIA_DEPTH) == (100, 8)
