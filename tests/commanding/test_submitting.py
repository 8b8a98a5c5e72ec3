"""How far the submission of a command has come."""

from datetime import UTC, datetime

import pytest

from consumer.commanding.submitting import Progress, progress_of
from consumer.core.standing import Named, Submission, SubmissionState
from consumer.errors import CommandRefused

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def submission(state: SubmissionState, **more) -> Submission:
    return Submission(submission_id="sub_1", first_at=NOW, last_at=NOW, state=state, **more)


@pytest.mark.parametrize(
    "state, expected",
    [
        (SubmissionState.INTENDED, Progress.SENDING),
        (SubmissionState.SENDING, Progress.SENDING),
        (SubmissionState.UNKNOWN, Progress.UNKNOWN),
    ],
)
def test_a_submission_on_its_way_has_no_end(state, expected):
    """Before fal's answer it is being sent, or unknown."""
    assert expected is progress_of(submission(state), "abc")


def test_a_submission_nobody_saw_is_waited_for():
    """None is a command that was not taken up yet."""
    assert Progress.WAITING is progress_of(None, "abc")


def test_a_submission_with_its_request_is_sent():
    """With a request id, given by fal, it is sent."""
    request = Named(value="r-1", authority=3, at=NOW)

    assert Progress.SENT is progress_of(
        submission(SubmissionState.SUBMITTED, request=request, input_sha256="abc"), "abc"
    )


@pytest.mark.parametrize(
    "state", [SubmissionState.REFUSED, SubmissionState.CANCELLED, SubmissionState.LOST]
)
def test_an_end_without_a_job_is_a_refusal(state):
    """Refused, cancelled and lost are told with their reason."""
    with pytest.raises(CommandRefused) as caught:
        progress_of(submission(state, reason="why"), "abc")

    assert (state.value, "why") == (caught.value.state, caught.value.reason)


def test_an_id_used_for_another_input_is_a_conflict():
    """The same id with another input is a refusal, wherever the first one stands."""
    with pytest.raises(CommandRefused, match="command_conflict"):
        progress_of(submission(SubmissionState.SENDING, input_sha256="other"), "abc")
