"""
The count at the end: the topics and the ledger, held against what was posted and what fal did.

Only reads. What does not add up is a sentence in `Report.mistakes`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode
from consumer.core.result import result_from
from consumer.core.standing import Request
from consumer.ledger import Ledger
from consumer.ports import Log, RequestFilter
from consumer.simulator import Books
from drills.conservation.jobs import Jobs, mistakes_in
from drills.load import Posted, mark_of

_PAGE = 1000
_MAX_TOLD = 20


@dataclass
class Report:
    """What a run counted. `mistakes` is empty when everything was conserved."""

    faults: list[str] = field(default_factory=list)
    deliveries: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    debts: int = 0
    lost: int = 0
    doubled: int = 0
    unowed: int = 0
    spooled: int = 0
    jobs: int = 0
    webhooks: int = 0
    requests: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    load_s: float = 0.0
    spool_drained_s: float = 0.0
    caught_up_s: float = 0.0
    stray_lines: int = 0
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        answers = ", ".join(
            f"{count} {status or 'without an answer'}"
            for status, count in sorted(self.answers.items(), reverse=True)
        )
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return (
            f"conservation run: {len(self.faults)} faults ({', '.join(self.faults)}) in "
            f"{self.load_s:.0f} s of load; {self.deliveries} deliveries ({answers}), "
            f"{self.debts} acknowledged, {self.lost} lost, {self.doubled} duplicated in the topic, "
            f"{self.unowed} there without a 200, {self.spooled} went through the spool; "
            f"spool empty {self.spool_drained_s:.1f} s after the load, workers caught up after "
            f"{self.caught_up_s:.1f} s; {self.jobs} jobs, {self.webhooks} webhooks of theirs "
            f"acknowledged; ledger: {self.requests} requests ({ends}), "
            f"{len(self.mistakes)} do not add up; {self.stray_lines} stray lines in the logs"
        )


async def count_topics(log: Log, posted: Posted, books: Books, report: Report) -> None:
    """Read the topics whole: every debt byte for byte, one outcome for each result's revision."""
    missing, seen = set(posted.debts), set[bytes]()
    results: dict[tuple[str, int], str] = {}
    async for record in log.read([Topic.COMPLETIONS, Topic.DEAD_LETTERS, Topic.RESULTS]):
        event = decode(record.headers, record.value)
        if record.position.topic is Topic.RESULTS:
            result = result_from(event)
            held = results.setdefault((event.subject, result.revision), result.outcome)
            if held != result.outcome:
                report.mistakes.append(f"{event.subject}: told as {held} and {result.outcome}")
        if record.position.topic is Topic.DEAD_LETTERS:
            report.mistakes.append(f"{event.subject}: a dead letter")
        if "falsignature" not in event.extensions or event.subject in books.requests:
            continue
        headers = delivery_from(event).headers
        mark = mark_of(headers.request_id, headers.signature, record.value)
        report.doubled += mark in seen
        report.unowed += mark not in posted.debts and mark not in seen
        if event.subject not in posted.ends:
            report.mistakes.append(f"{event.subject}: in the topic, never posted")
        seen.add(mark)
        missing.discard(mark)
    report.lost = len(missing)
    told = {subject for subject, _ in results}
    untold = sum(request_id not in told for request_id in posted.kept)
    if untold:
        report.mistakes.append(f"{untold} acknowledged requests have no result event")


async def count_ledger(
    ledger: Ledger, posted: Posted, books: Books, jobs: Jobs, report: Report
) -> None:
    """Read every request and submission, and hold them against what was posted and done."""
    requests = {request.request_id: request for request in await all_requests(ledger)}
    submissions = await ledger.submissions(limit=10**6)
    report.requests = len(requests)
    report.ends = Counter(request.state.value for request in requests.values())
    report.webhooks = sum(
        attempt.answer == 200 for entry in books.requests.values() for attempt in entry.attempts
    )
    mistakes = [
        *_of_posted(requests, posted),
        *mistakes_in(requests, submissions, books, jobs.count),
    ]
    invented = requests.keys() - posted.ends.keys() - books.requests.keys()
    mistakes += [f"{request_id}: in the ledger, never heard of" for request_id in invented]
    report.mistakes += mistakes


def told_briefly(mistakes: Sequence[str]) -> list[str]:
    """Return the first mistakes, and how many more there are."""
    more = len(mistakes) - _MAX_TOLD
    return [*mistakes[:_MAX_TOLD], *([f"and {more} more"] if more > 0 else [])]


async def all_requests(ledger: Ledger) -> list[Request]:
    """Return every request of the ledger."""
    found: list[Request] = []
    while True:
        before = found[-1].request_id if found else ""
        page = await ledger.requests(RequestFilter(limit=_PAGE, before=before))
        found.extend(page)
        if len(page) < _PAGE:
            return found


def _of_posted(requests: dict[str, Request], posted: Posted) -> Iterator[str]:
    for request_id in posted.kept - requests.keys():
        yield f"{request_id}: acknowledged, not in the ledger"
    for request_id in posted.ends.keys() & requests.keys():
        request, end = requests[request_id], posted.ends[request_id]
        if request.state.value != end:
            yield f"{request_id}: posted as {end}, its state is {request.state}"
        if request.result is None or request.result.outcome != end:
            told = request.result.outcome if request.result else "nothing"
            yield f"{request_id}: posted as {end}, its result says {told}"
