"""How the tests of commands hand one over, and what they read of its end."""

from tests.handlers.stage import Stage

SENT = "00000000-0000-4000-8000-000000000001"


async def handled(stage: Stage, record, attempt: int = 1):
    """Handle a command, then let the ledger learn what it told."""
    outcome = await stage.commands.handle(record, attempt)
    await stage.catch_up()
    return outcome


def result_of(stage: Stage):
    """Return (request, submission, outcome, reason, status) of every result event."""
    names = ("request_id", "submission_id", "outcome", "reason", "http_status")
    return [tuple(told[name] for name in names) for told in stage.told()]
