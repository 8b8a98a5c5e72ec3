"""What became of a submit command, read from the ledger."""

from enum import StrEnum

from consumer.core.standing import Submission, SubmissionState
from consumer.errors import CommandRefused


class Progress(StrEnum):
    """How far a submit command has come."""

    WAITING = "waiting"
    """The service has not taken it up yet."""
    SENDING = "sending"
    UNKNOWN = "unknown"
    """fal did not answer clearly: a job may exist, and the service looks for it."""
    SENT = "sent"
    """fal gave it a request id."""


_ENDED_WITHOUT_JOB = frozenset(
    {SubmissionState.REFUSED, SubmissionState.CANCELLED, SubmissionState.LOST}
)


def progress_of(submission: Submission | None, input_sha256: str) -> Progress:
    """
    Return how far the submission of a command has come, None being one nobody has seen.

    Raises CommandRefused where it never gets a request id: its `state` is refused, cancelled or
    lost, or its `reason` is `command_conflict`, for an id that was used with another input.
    """
    if submission is None:
        return Progress.WAITING
    if submission.input_sha256 not in ("", input_sha256):
        raise CommandRefused("command_conflict")
    if submission.request is not None and submission.state is SubmissionState.SUBMITTED:
        return Progress.SENT
    if submission.state in _ENDED_WITHOUT_JOB:
        raise CommandRefused(submission.reason, state=submission.state.value)
    is_unknown = submission.state is SubmissionState.UNKNOWN
    return Progress.UNKNOWN if is_unknown else Progress.SENDING
