"""What is said, and how often."""

from consumer.errors import BadSignature, ForeignAccount
from consumer.receiving.telling import Teller
from consumer.telemetry import LOG_EVENTS, Metrics
from consumer.testing.receiving import Lines


async def test_accounts_told_are_bounded():
    """A stream of ever new accounts does not make a line for each without end."""
    lines = Lines()
    teller = Teller(Metrics(), lines, has_accounts=True)

    for number in range(2000):
        teller.rejected(ForeignAccount(f"github|{number}"), 403, None, 0.0)

    events = [event for _, event, _ in lines.told]
    assert (1024, 600) == (events.count("account.refused"), events.count("delivery.rejected"))


async def test_every_name_is_in_the_list():
    """No line has a name outside the closed list."""
    lines = Lines()
    teller = Teller(Metrics(), lines, has_accounts=False)

    teller.malformed()
    teller.broken(ValueError("secret"))
    teller.rejected(BadSignature(1), 401, None, 0.0)
    teller.rejected(ForeignAccount("github|1"), 403, None, 0.0)

    assert {event for _, event, _ in lines.told} <= LOG_EVENTS
    assert "secret" not in repr(lines.told)


async def test_a_mistake_without_a_traceback_is_told_too():
    """An error that was never raised has no place, and is told all the same."""
    lines = Lines()

    Teller(Metrics(), lines, has_accounts=True).broken(ValueError("secret"))

    assert [("error", "invariant.broken", {"error": "ValueError", "where": ""})] == lines.told
