"""What is kept of an answer that drifted."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.drift import DriftNote, drift_letter, maybe_drift
from consumer.core.event import Topic, parse_time
from consumer.core.replay import letter_of
from consumer.errors import SchemaDrift

AT = parse_time("2026-11-30T12:00:00Z")
DRIFT = SchemaDrift("status", "status", b'{"status":"PAUSED"}', expected="A or B", came="'PAUSED'")


def test_the_letter_holds_the_body_and_says_what_was_expected():
    """The body is whole, the key is the request, and the headers name field and kinds."""
    letter = drift_letter(DRIFT, request_id="r", endpoint="fal-ai/x", at=AT)

    assert (Topic.DEAD_LETTERS, "r", b'{"status":"PAUSED"}') == (
        letter.topic,
        letter.key,
        letter.value,
    )
    assert maybe_drift(letter.headers) == DriftNote(
        "status", "fal-ai/x", "status", "A or B", "'PAUSED'"
    )
    told = letter_of(letter.headers)
    assert (told.reason, told.origin, told.set_aside_at) == ("schema_drift", "fal/status", AT)


def test_other_letters_are_no_drift():
    """A letter of another reason, or without an operation, is none."""
    assert maybe_drift((("dlreason", b"undecodable"), ("dloperation", b"x"))) is None
    assert maybe_drift((("dlreason", b"schema_drift"),)) is None


@given(st.text(), st.text())
def test_no_foreign_text_breaks_a_header(where, came):
    """Whatever fal named a field, the headers are short and have no control characters."""
    drift = SchemaDrift("models", where, b"", expected="text", came=came)

    letter = drift_letter(drift, request_id="", endpoint="", at=AT)

    for _, value in letter.headers:
        assert len(value) <= 4 * 500
        assert value.decode().isprintable()
