"""
Do the numbers add up? The ledger held against the simulator's books, as plain values.

No I/O: `demo` gathers, this counts, the command line draws.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from consumer.core.standing import Request
from consumer.simulator.books import Attempt, Books, RequestEntry

ENDS = ("succeeded", "failed", "cancelled", "lost")
WAYS = ("webhook", "reconciliation", "cancel's answer")
_WAY_OF = {"webhook": WAYS[0], "cancel": WAYS[2]}
# Every other witness is an answer that we went and asked for.


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened, counted; `mistakes` is empty when everything adds up."""

    sent: int
    ends: Mapping[tuple[str, str], int]
    booked: Mapping[str, int]
    deliveries: Mapping[tuple[str, str], int]
    units: Decimal
    booked_units: Decimal
    mistakes: Sequence[str] = field(default_factory=tuple)


def tally(sent: int, requests: Sequence[Request], books: Books) -> Tally:
    """Return the count of `sent` submits, of the ledger's requests and of the books."""
    held = {request.request_id: request for request in requests}
    ends = Counter(
        (request.result.outcome, _WAY_OF.get(request.result.witness, WAYS[1]))
        for request in requests
        if request.result is not None
    )
    units = sum(
        (
            Decimal(request.result.billable_units)
            for request in requests
            if request.result is not None and request.result.billable_units
        ),
        Decimal(0),
    )
    booked_units = sum(
        (Decimal(str(entry.billable_units or 0)) for entry in books.requests.values()), Decimal(0)
    )
    return Tally(
        sent,
        ends,
        Counter(entry.end for entry in books.requests.values()),
        Counter(deliveries_of(books)),
        units,
        booked_units,
        tuple(_mistakes(sent, held, books)),
    )


def deliveries_of(books: Books) -> list[tuple[str, str]]:
    """Return (kind, what became of it) of every delivery that the simulator sent."""
    return [
        (attempt.kind, _verdict(attempt, has_earlier=is_again))
        for entry in books.requests.values()
        for attempt, is_again in _marked(entry)
    ]


def _marked(entry: RequestEntry) -> list[tuple[Attempt, bool]]:
    marked, has_one = [], False
    for attempt in entry.attempts:
        marked.append((attempt, has_one))
        has_one = has_one or (is_genuine(attempt) and attempt.answer == 200)
    return marked


def is_genuine(attempt: Attempt) -> bool:
    """Tell whether fal itself would have sent this for our account."""
    return not attempt.kind.startswith(("forged", "foreign"))


def _verdict(attempt: Attempt, *, has_earlier: bool) -> str:
    if attempt.answer == 200:
        return "again" if has_earlier else "accepted"
    return f"refused {attempt.answer}" if attempt.answer else attempt.error or "no answer"


def _mistakes(sent: int, held: Mapping[str, Request], books: Books) -> list[str]:
    said = []
    if sent != len(books.requests):
        said.append(f"{sent} submits were sent, fal took {len(books.requests)}")
    for request_id, entry in books.requests.items():
        request = held.get(request_id)
        told = request.result.outcome if request and request.result else "no result"
        if told != entry.end:
            said.append(f"{request_id} ({entry.scenario}): fal says {entry.end}, we say {told}")
        units = request.result.billable_units if request and request.result else None
        if units and entry.billable_units and Decimal(units) != Decimal(str(entry.billable_units)):
            bills = f"fal bills {entry.billable_units} units, we say {units}"
            said.append(f"{request_id} ({entry.scenario}): {bills}")
        said.extend(_wrong_answers(request_id, entry))
    strangers = held.keys() - books.requests.keys()
    said.extend(f"{request_id}: fal never had it" for request_id in sorted(strangers))
    return said


def _wrong_answers(request_id: str, entry: RequestEntry) -> list[str]:
    said = [
        f"{request_id}: a {attempt.kind} delivery was answered {attempt.answer}"
        for attempt in entry.attempts
        if not is_genuine(attempt) and attempt.answer not in (401, 403)
    ]
    genuine = [attempt for attempt in entry.attempts if is_genuine(attempt)]
    if genuine and not any(attempt.answer == 200 for attempt in genuine):
        said.append(f"{request_id}: no genuine delivery was accepted")
    return said
