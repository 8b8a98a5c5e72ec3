"""
fal's queue in memory: jobs that a test moves along, and answers that it scripts.

Passes the conformance suite of the real client. No time passes here by itself.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from consumer.core.endpoint import is_endpoint_id, is_request_id, request_path
from consumer.core.text import dump_json
from consumer.errors import ConsumerError, FalRefused
from consumer.ports import (
    CancelAnswer,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitAnswer,
    SubmitOrder,
    SubmitRefused,
    Submitted,
)

NOT_READY = ResultAnswer(ResultKind.NOT_READY)
NOT_FOUND = ResultAnswer(ResultKind.NOT_FOUND)


@dataclass(slots=True)
class FakeJob:
    """One job as fal would hold it; tests read and change it freely."""

    request_id: str
    endpoint: str
    order: SubmitOrder | None = None
    status: QueueStatus = QueueStatus.IN_QUEUE
    queue_position: int = 0
    result: ResultAnswer = NOT_READY
    error: str | None = None
    error_type: str | None = None
    is_cancel_asked: bool = False


@dataclass(slots=True)
class FakeFal:
    """
    A `ports.FalQueue` in memory.

    `jobs` by request id; `calls` as (operation, request id or endpoint), in order, those that
    were answered by script too; `orders` as they came.
    """

    origin: str = "https://queue.fal.run"
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    orders: list[SubmitOrder] = field(default_factory=list)
    holds_back: str = ""
    on_submit: Callable[[FakeJob], None] = field(default=lambda _job: None)
    _scripts: dict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))

    # ------------------------------------------------------------ what a test does to it

    def answer_next(self, operation: str, *answers: Any) -> None:
        """
        Let the next calls of `submit`, `status`, `result` or `cancel` end in these answers.

        An answer is returned as it is, an error of ours is raised; jobs stay as they are.
        """
        self._scripts[operation].extend(answers)

    def add(self, endpoint: str, request_id: str) -> FakeJob:
        """Put a job into the queue that somebody else submitted."""
        job = FakeJob(request_id.lower(), endpoint)
        self.jobs[job.request_id] = job
        return job

    def start(self, request_id: str) -> FakeJob:
        """Let the job run."""
        job = self.jobs[request_id]
        job.status = QueueStatus.IN_PROGRESS
        return job

    def finish(
        self,
        request_id: str,
        output: Mapping[str, Any] | bytes,
        *,
        http_status: int = 200,
        billable_units: str | None = "1",
    ) -> FakeJob:
        """Let the model answer, with an output or, under 4xx and 5xx, with its error body."""
        job = self.jobs[request_id]
        job.status = QueueStatus.COMPLETED
        body = output if isinstance(output, bytes) else dump_json(dict(output))
        job.result = ResultAnswer(
            ResultKind.READY, http_status, body, "application/json", billable_units
        )
        return job

    def break_down(self, request_id: str, error: str, error_type: str, http_status: int) -> FakeJob:
        """Let the infrastructure fail the job: the status says so, the result repeats it."""
        detail = {"detail": error, "error_type": error_type}
        job = self.finish(request_id, detail, http_status=http_status, billable_units=None)
        job.error, job.error_type = error, error_type
        return job

    def expire(self, request_id: str) -> None:
        """Forget the result alone; the status stays COMPLETED."""
        self.jobs[request_id].result = NOT_FOUND

    def forget(self, request_id: str) -> None:
        """Forget the job altogether."""
        del self.jobs[request_id]

    # ------------------------------------------------------------ what the port promises

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """Take the job, unless the script says otherwise."""
        if not is_endpoint_id(order.endpoint):
            return SubmitRefused(None, "bad_endpoint")
        self.calls.append(("submit", order.endpoint))
        self.orders.append(order)
        scripted = self._scripted("submit")
        if scripted is not None:
            answer: SubmitAnswer = scripted
            return answer
        job = self.add(order.endpoint, str(UUID(int=len(self.orders), version=4)))
        job.order = order
        self.on_submit(job)
        return Submitted(job.request_id)

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer:
        """Return the job's status."""
        job, scripted = self._called("status", endpoint, request_id)
        if scripted is not None:
            answer: StatusAnswer = scripted
            return answer
        if job is None:
            return StatusAnswer(QueueStatus.NOT_FOUND)
        position = job.queue_position if job.status is QueueStatus.IN_QUEUE else None
        return StatusAnswer(job.status, position, job.error, job.error_type)

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer:
        """Return the job's result."""
        job, scripted = self._called("result", endpoint, request_id)
        if scripted is not None:
            answer: ResultAnswer = scripted
            return answer
        return NOT_FOUND if job is None else job.result

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer:
        """Remove a queued job; of a running one remember that it was asked."""
        job, scripted = self._called("cancel", endpoint, request_id)
        if scripted is not None:
            answer: CancelAnswer = scripted
            return answer
        if job is None:
            return CancelAnswer.NOT_FOUND
        if job.status is QueueStatus.COMPLETED:
            return CancelAnswer.ALREADY_COMPLETED
        job.is_cancel_asked = True
        if job.status is QueueStatus.IN_PROGRESS:
            return CancelAnswer.REQUESTED
        self.break_down(job.request_id, "Request was cancelled", "client_cancelled", 499)
        return CancelAnswer.REMOVED

    # ------------------------------------------------------------ parts

    def _called(self, operation: str, endpoint: str, request_id: str) -> tuple[FakeJob | None, Any]:
        if not is_endpoint_id(endpoint):
            raise FalRefused(0, "bad_endpoint")
        if not is_request_id(request_id):
            raise FalRefused(0, "bad_request_id")
        self.calls.append((operation, request_id))
        return self._find(endpoint, request_id), self._scripted(operation)

    def _find(self, endpoint: str, request_id: str) -> FakeJob | None:
        """Return the job of this app: the endpoint's sub path does not matter."""
        job = self.jobs.get(request_id.lower())
        if job is None or request_path(job.endpoint, "") != request_path(endpoint, ""):
            return None
        return job

    def _scripted(self, operation: str) -> Any:
        if not self._scripts[operation]:
            return None
        answer = self._scripts[operation].popleft()
        if isinstance(answer, ConsumerError):
            raise answer
        return answer
