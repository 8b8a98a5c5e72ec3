"""The stage that a promise of the ledger plays on, and what a reader sees of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from consumer.core.standing import Request
from consumer.ports import Ledger, Plan, RequestFilter

T0 = datetime(2026, 10, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=30)
R1, R2, R3 = (f"019f7085-1439-7320-9a28-00000000000{n}" for n in (1, 2, 3))
HOSTILE = "nul \x00, lone \ud800 and \udfff, emoji \U0001f600, quote ', backslash \\u0000"
STORED = "nul \\u0000, lone \\ud800 and \\udfff, emoji \U0001f600, quote ', backslash \\u0000"


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = T0) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, span: timedelta) -> None:
        self.now += span


@dataclass
class Stage:
    """One ledger under test, its clock, and how to close and open it again; its URL if it has."""

    ledger: Ledger
    clock: ManualClock
    reopen: Callable[[], Awaitable[Ledger]]
    url: str = ""


def plan(request: Request, now: datetime) -> Plan:
    """Return a plan of this suite's own, with each kind of answer that the product's has."""
    check = now + SECOND * (60 if request.has_callback or request.end else 1)
    if request.unreadable_at is not None and request.end is None:
        check = now
    wants_cancel = request.is_tracked and request.end is None and not request.cancel_asked_at
    return Plan(check if request.is_open else None, request.finish_by if wants_cancel else None)


async def rows(ledger: Ledger) -> tuple:
    """Return everything that a reader can see of the projection."""
    requests = await ledger.requests(RequestFilter(limit=1000))
    submissions = await ledger.submissions(limit=1000)
    names = [request.request_id for request in requests]
    names += [submission.submission_id for submission in submissions]
    return (
        requests,
        submissions,
        [await ledger.timeline(name) for name in names],
        [await ledger.evidence(name) for name in names],
        [await ledger.result(name) for name in names],
        await ledger.counts(),
    )


async def due(ledger: Ledger, schedule="check") -> list[str]:
    """Lease and give back what is due, and return its subjects."""
    taken = await ledger.take_due(schedule, limit=100, lease=timedelta(0))
    return [row.subject for row in taken]


async def trimmed(ledger: Ledger, keep: timedelta) -> None:
    """Remove what is older, until nothing is left to remove."""
    while await ledger.trim(keep):
        pass


async def held(ledger: Ledger, subject: str) -> tuple[int, int]:
    """Return how many facts and deliveries there are of a subject."""
    return len(await ledger.timeline(subject)), len(await ledger.evidence(subject))
