"""Jobs asked for by commands on the log, as another service would, and what came of each."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from consumer.app import utc_now
from consumer.core.command import command_event, submission_id_of
from consumer.core.event import encode
from consumer.core.standing import Request, Submission, SubmissionState
from consumer.errors import LogUnavailable
from consumer.ports import Log
from consumer.simulator import Books, RequestEntry
from drills.stage import ENDPOINT

_AGAIN_AFTER_S = 0.5

WEIGHTS = {
    "plain": 50,
    "duplicate": 10,
    "late": 5,
    "lost": 15,
    "reordered": 5,
    "error_422": 10,
    "payload_null": 5,
}
"""What may happen to a job of the stand-in."""


class Jobs:
    """Puts submit commands on the log until told; `count` of them were taken."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self, log: Log, rate: float, until: Callable[[], bool]) -> None:
        """Ask for a job, again under the same id while Kafka does not take the command."""
        while not until():
            await self._ask(log, self.count)
            self.count += 1
            await asyncio.sleep(1 / rate)

    async def _ask(self, log: Log, number: int) -> None:
        fields = {
            "command": "submit",
            "command_id": _command_id(number),
            "endpoint": ENDPOINT,
            "input": {"prompt": f"number {number}"},
            "tags": {"number": str(number)},
        }
        record = encode(command_event(fields, source="drill", at=utc_now()))
        while True:
            try:
                await log.append(record)
            except LogUnavailable:
                await asyncio.sleep(_AGAIN_AFTER_S)
            else:
                return


def orphans(books: Books, submissions: Sequence[Submission]) -> set[str]:
    """
    Return the requests that nobody can know of: the worker was killed between the claim and
    fal's answer, and no webhook ever named them.
    """
    lost = {one.submission_id for one in submissions if one.state is SubmissionState.LOST}
    return {key for key, entry in books.requests.items() if _submission_of(entry) in lost}


def mistakes_in(
    requests: Mapping[str, Request], submissions: Sequence[Submission], books: Books, asked: int
) -> Iterator[str]:
    """Give what the ledger says about jobs and submissions that the stand-in's books do not."""
    without = orphans(books, submissions)
    for request_id, entry in books.requests.items():
        request = requests.get(request_id)
        if request_id in without:
            # Nobody may know it: no webhook of it was sent, or none was answered 200.
            if request is not None or any(one.answer == 200 for one in entry.attempts):
                yield f"{request_id}: known, but its submission is lost"
            continue
        told = request.result.outcome if request and request.result else "nothing"
        if told != entry.end:
            yield f"{request_id} ({entry.scenario}): fal says {entry.end}, the ledger {told}"
        if request and request.state.value != entry.end:
            yield f"{request_id}: fal says {entry.end}, its state is {request.state}"
    doubled = sum(count != 1 for count in books.submits_by_webhook.values())
    if doubled:
        yield f"{doubled} submissions were sent more than once"
    states = Counter(one.state for one in submissions)
    if len(submissions) != asked:
        yield f"{asked} jobs asked for, {len(submissions)} submissions in the ledger"
    if states[SubmissionState.LOST] + states[SubmissionState.SUBMITTED] != len(submissions):
        yield f"submissions without an end: {dict(states)}"


def _command_id(number: int) -> str:
    return f"drill-{number}"


def _submission_of(entry: RequestEntry) -> str:
    number = (entry.tags or "").removeprefix("number=")
    return submission_id_of(f"drill-{number}")
