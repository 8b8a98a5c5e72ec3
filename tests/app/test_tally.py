"""Do the numbers add up: the ledger's requests held against the simulator's books."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from consumer.app.tally import deliveries_of, is_genuine, tally
from consumer.core.standing import Published, Request
from consumer.simulator.books import Attempt, Books, RequestEntry

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)


def known(request_id: str, outcome: str, witness: str, units: str | None = None) -> Request:
    """Return a request as the ledger holds it, with its latest result."""
    published = Published(revision=1, outcome=outcome, witness=witness, billable_units=units)
    return Request(request_id=request_id, first_at=T0, last_at=T0, result=published)


def booked(end: str, *attempts: Attempt, units: float | None = None) -> RequestEntry:
    """Return a page of the books."""
    entry = RequestEntry("", "a/b", "plain", "", None, has_webhook=True, end=end)
    entry.billable_units = units
    entry.attempts.extend(attempts)
    return entry


def sent(kind: str, answer: int | None, error: str | None = None) -> Attempt:
    return Attempt(0.0, kind, 1, answer, error)


def books(**entries: RequestEntry) -> Books:
    return Books(requests=dict(entries))


def test_equal_books_hold_no_mistake():
    """Each request counts under its latest result and witness; nothing is wrong."""
    requests = [
        known("a", "succeeded", "webhook", "1.5"),
        known("b", "succeeded", "result", "0.1"),
        known("c", "failed", "status"),
        known("d", "cancelled", "cancel"),
    ]
    held = books(
        a=booked("succeeded", sent("genuine", 200), units=1.5),
        b=booked("succeeded", units=0.1),
        c=booked("failed"),
        d=booked("cancelled"),
    )

    found = tally(4, requests, held)

    assert {
        ("succeeded", "webhook"): 1,
        ("succeeded", "reconciliation"): 1,
        ("failed", "reconciliation"): 1,
        ("cancelled", "cancel's answer"): 1,
    } == found.ends
    assert {"succeeded": 2, "failed": 1, "cancelled": 1} == found.booked
    assert (4, Decimal("1.6"), Decimal("1.6")) == (found.sent, found.units, found.booked_units)
    assert () == found.mistakes


@pytest.mark.parametrize(
    "count, requests, held, mistake",
    [
        (2, [], {}, "2 submits were sent, fal took 0"),
        (
            1,
            [],
            {"a": booked("succeeded")},
            "a (plain): fal says succeeded, we say no result",
        ),
        (
            1,
            [known("a", "lost", "sweep")],
            {"a": booked("succeeded")},
            "a (plain): fal says succeeded, we say lost",
        ),
        (
            1,
            [known("a", "failed", "webhook")],
            {"a": booked("open")},
            "a (plain): fal says open, we say failed",
        ),
        (0, [known("x", "succeeded", "webhook")], {}, "x: fal never had it"),
        (
            1,
            [known("a", "succeeded", "webhook")],
            {"a": booked("succeeded", sent("forged:key", 200))},
            "a: a forged:key delivery was answered 200",
        ),
        (
            1,
            [known("a", "succeeded", "webhook")],
            {"a": booked("succeeded", sent("foreign:account", None, "timeout"))},
            "a: a foreign:account delivery was answered None",
        ),
        (
            1,
            [known("a", "succeeded", "result")],
            {"a": booked("succeeded", sent("genuine", 401), sent("genuine", 503))},
            "a: no genuine delivery was accepted",
        ),
    ],
)
def test_each_difference_is_a_mistake(count, requests, held, mistake):
    """Whatever differs between ledger and books is said, with the request it is about."""
    assert (mistake,) == tally(count, requests, books(**held)).mistakes


def test_units_that_differ_are_a_mistake():
    """A request whose units are known to both sides and differ is said."""
    held = books(a=booked("succeeded", units=2.0))

    found = tally(1, [known("a", "succeeded", "webhook", "1")], held)

    assert ("a (plain): fal bills 2.0 units, we say 1",) == found.mistakes


def test_deliveries_are_accepted_again_or_refused():
    """Each delivery counts by what became of it; only one after an accepted one is again."""
    attempts = (
        sent("forged:key", 401),
        sent("genuine", 503),
        sent("genuine", 200),
        sent("duplicate", 200),
        sent("genuine", None, "timeout"),
        sent("genuine", None),
    )

    assert [
        ("forged:key", "refused 401"),
        ("genuine", "refused 503"),
        ("genuine", "accepted"),
        ("duplicate", "again"),
        ("genuine", "timeout"),
        ("genuine", "no answer"),
    ] == deliveries_of(books(a=booked("succeeded", *attempts)))


@pytest.mark.parametrize(
    "kind, expected",
    [("genuine", True), ("duplicate", True), ("forged:body", False), ("foreign:account", False)],
)
def test_forged_and_foreign_deliveries_are_not_genuine(kind, expected):
    """What fal itself would have sent for our account is genuine."""
    assert expected is is_genuine(sent(kind, 200))
