"""
fal's queue with a memory: answers that drifted are kept as dead letters, and work goes on.

Stands between handlers or sweeps and the client, and changes no answer. Of one field of one
operation a letter is kept every ten minutes: each poll of each request would bring the same.
"""

from datetime import datetime, timedelta

from consumer.core.drift import drift_letter
from consumer.errors import RecordRefused, SchemaDrift, Unavailable
from consumer.ports import (
    CancelAnswer,
    Clock,
    FalQueue,
    Publisher,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    SubmitOrder,
    SubmitUnknown,
)
from consumer.setting_aside import without_bytes
from consumer.telemetry import get_logger

_GAP = timedelta(minutes=10)
_MAX_FIELDS = 1000


class KeepDrift:
    """A `ports.FalQueue` that sets drifted answers aside before it hands them on."""

    def __init__(self, fal: FalQueue, publisher: Publisher, *, clock: Clock) -> None:
        self._fal = fal
        self._publisher = publisher
        self._clock = clock
        self._kept: dict[tuple[str, str], datetime] = {}

    @property
    def origin(self) -> str:
        """The origin that answers."""
        return self._fal.origin

    @property
    def holds_back(self) -> str:
        """Why a submit would be refused now without a call."""
        return self._fal.holds_back

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """
        Send the job, once. A taken one whose id could not be read is always kept: it may be
        in there. Never raises.
        """
        answer = await self._fal.submit(order)
        if isinstance(answer, SubmitUnknown) and answer.drift is not None:
            await self._keep_anyhow(answer.drift, order.endpoint)
        return answer

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer:
        """Return fal's status. Raises what the client raises, and LogUnavailable."""
        try:
            answer = await self._fal.status(endpoint, request_id)
        except SchemaDrift as exc:
            await self._keep(exc, endpoint, request_id)
            raise
        for drift in answer.drifts:
            await self._keep(drift, endpoint, request_id)
        return answer

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer:
        """Return fal's result. Raises what the client raises, and LogUnavailable."""
        try:
            return await self._fal.result(endpoint, request_id)
        except SchemaDrift as exc:
            await self._keep(exc, endpoint, request_id)
            raise

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer:
        """Ask fal to stop a request. Raises what the client raises, and LogUnavailable."""
        try:
            return await self._fal.cancel(endpoint, request_id)
        except SchemaDrift as exc:
            await self._keep(exc, endpoint, request_id)
            raise

    async def _keep(self, drift: SchemaDrift, endpoint: str, request_id: str) -> None:
        name, now = (drift.operation, drift.where), self._clock()
        last = self._kept.get(name)
        if last is not None and abs(now - last) < _GAP:
            return
        await self._publish(drift, endpoint, request_id)
        while len(self._kept) >= _MAX_FIELDS:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = now

    async def _keep_anyhow(self, drift: SchemaDrift, endpoint: str) -> None:
        """Keep the answer where the log takes it now; the submit's own outcome comes first."""
        try:
            await self._publish(drift, endpoint, "")
        except Unavailable as exc:
            get_logger().error("fal.drift_not_kept", operation=drift.operation, error=exc.code)

    async def _publish(self, drift: SchemaDrift, endpoint: str, request_id: str) -> None:
        letter = drift_letter(drift, request_id=request_id, endpoint=endpoint, at=self._clock())
        try:
            await self._publisher.append(letter)
        except RecordRefused:
            await self._publisher.append(without_bytes(letter, len(letter.value)))
