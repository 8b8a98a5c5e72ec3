"""The tools that only read: each asks fal and changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from itertools import count

from consumer.agents.answers import (
    EstimateAnswer,
    KeySetAnswer,
    ModelsAnswer,
    PricingAnswer,
    ResultAnswer,
    StatusAnswer,
    StreamAnswer,
    widened,
)
from consumer.agents.arguments import (
    MAX_MODELS_WITH_OPENAPI,
    OfEstimate,
    OfKeySet,
    OfModels,
    OfPricing,
    OfRequest,
    OfStatus,
    OfStream,
)
from consumer.core.text import dump_json, parse_json
from consumer.errors import FalUnavailable
from consumer.fal import FalClient, Model, ResultWord, Status
from consumer.ports import QueueStatus

MAX_OUTPUT_BYTES = 256 * 1024
# Of an output as JSON. An agent has to read it all; media are links of a hundred bytes.
MAX_STATES = 500
MAX_LOG_LINES = 1000

Progress = Callable[[float, str], Awaitable[None]]
"""Takes how many states were seen, and the latest as a sentence."""

Recall = Callable[[str], Awaitable[bytes | None]]

_STATUS_STEPS = {
    QueueStatus.IN_QUEUE: "It waits. Follow it with FAL_AI_QUEUE_GET_STATUS_STREAM.",
    QueueStatus.IN_PROGRESS: "It runs. Follow it with FAL_AI_QUEUE_GET_STATUS_STREAM.",
    QueueStatus.COMPLETED: (
        "It has ended, which covers success, failure and cancellation: "
        "FAL_AI_GET_QUEUE_REQUEST_RESULT tells which."
    ),
    QueueStatus.NOT_FOUND: (
        "fal has no such request here: check the request id and the endpoint. "
        "One just submitted may take some seconds to appear."
    ),
}

_RESULT_STEPS = {
    ResultWord.SUCCEEDED: "Use `output`; links in it may expire, so download what you need.",
    ResultWord.MODEL_FAILED: (
        "The model refused or failed; `detail` says why. Change the input and submit a new job."
    ),
    ResultWord.INFRASTRUCTURE_FAILED: (
        "fal could not run it, the input may be fine: submitting a new job may succeed, and "
        "costs as a new job does."
    ),
    ResultWord.NOT_READY: "It has not ended: follow it with FAL_AI_QUEUE_GET_STATUS_STREAM.",
    ResultWord.EXPIRED: (
        "It ended, and fal no longer keeps its result; the service of this server recorded none. "
        "Submitting it as a new job costs again."
    ),
}


_RECALLED = "fal no longer keeps its result: `record` is what the service recorded."


async def recall_nothing(_request_id: str) -> bytes | None:
    """Return no record: of a server beside which no service keeps any."""
    return None


class Reading:
    """
    The reading tools over one client of fal. `recall` gives the result event that a service
    recorded of a request, as JSON, or None.
    """

    def __init__(self, fal: FalClient, recall: Recall = recall_nothing) -> None:
        self._fal = fal
        self._recall = recall

    async def status(self, asked: OfStatus, _progress: Progress) -> StatusAnswer:
        """Return where a request stands."""
        status = await self._fal.status(asked.endpoint, asked.request_id, has_logs=asked.logs)
        is_over = status.status in (QueueStatus.COMPLETED, QueueStatus.NOT_FOUND)
        step = _STATUS_STEPS[status.status]
        if status.logs is not None:
            status = status.model_copy(update={"logs": status.logs[-MAX_LOG_LINES:]})
        return StatusAnswer.model_validate(widened(status, is_over=is_over, next_step=step))

    async def stream(self, asked: OfStream, progress: Progress) -> StreamAnswer:
        """Follow a request until its end, or until the time is up; return the states seen."""
        states: list[Status] = []
        try:
            async with asyncio.timeout(asked.follow_s):
                await self._follow(asked, states, progress)
        except TimeoutError:
            pass
        except FalUnavailable:
            if not states:
                raise
        last = states[-1].status if states else None
        is_over = last in (QueueStatus.COMPLETED, QueueStatus.NOT_FOUND)
        step = _STATUS_STEPS[last] if last else "Nothing was heard yet."
        if not is_over:
            step = f"{step} It has not ended: call again to go on following it."
        return StreamAnswer(
            request_id=asked.request_id, states=states, is_over=is_over, next_step=step
        )

    async def _follow(self, asked: OfStream, states: list[Status], progress: Progress) -> None:
        following = self._fal.stream_status(asked.endpoint, asked.request_id, has_logs=asked.logs)
        async with aclosing(following) as statuses:
            async for status in statuses:
                states.append(status)
                await progress(float(len(states)), _told(status))
                if len(states) >= MAX_STATES:
                    return

    async def result(self, asked: OfRequest, _progress: Progress) -> ResultAnswer:
        """Return the result of a request, an output too large for an agent left out."""
        result = await self._fal.result(asked.endpoint, asked.request_id)
        added: dict[str, object] = {"next_step": _RESULT_STEPS[result.outcome]}
        size = _output_bytes(result.output, result.output_base64)
        if size > MAX_OUTPUT_BYTES:
            added = {"output": None, "output_base64": None, **_left_out(size)}
        elif result.outcome is ResultWord.EXPIRED:
            added |= await self._recalled(asked.request_id)
        is_over = result.outcome is not ResultWord.NOT_READY
        return ResultAnswer.model_validate(widened(result, **added, is_over=is_over))

    async def _recalled(self, request_id: str) -> dict[str, object]:
        data = await self._recall(request_id)
        record = parse_json(data) if data else None
        if not isinstance(record, dict):
            return {}
        size = _output_bytes(record.get("output"), record.get("output_base64"))
        if size > MAX_OUTPUT_BYTES:
            record |= {"output": None, "output_base64": None}
            return {"record": record, **_left_out(size)}
        return {"record": record, "next_step": _RECALLED}

    async def models(self, asked: OfModels, _progress: Progress) -> ModelsAnswer:
        """Return the models that match, and whether there are more."""
        limit = min(asked.limit, MAX_MODELS_WITH_OPENAPI) if asked.openapi else asked.limit
        wanted = asked.skip + limit
        found: list[Model] = []
        matching = self._fal.models(
            asked.endpoints,
            text=asked.text,
            category=asked.category,
            status=asked.status,
            has_openapi=asked.openapi,
            page_size=min(wanted + 1, 10 if asked.openapi else 100),
        )
        async with aclosing(matching) as models:
            numbers = count()
            async for model in models:
                number = next(numbers)
                if number >= wanted:
                    return ModelsAnswer(models=found, has_more=True)
                if number >= asked.skip:
                    found.append(model)
        return ModelsAnswer(models=found, has_more=False)

    async def pricing(self, asked: OfPricing, _progress: Progress) -> PricingAnswer:
        """Return the prices, and which endpoints have none."""
        found = await self._fal.pricing(asked.endpoints)
        return PricingAnswer(prices=found.prices, unknown=found.unknown)

    async def estimate(self, asked: OfEstimate, _progress: Progress) -> EstimateAnswer:
        """Return what it would cost in all."""
        found = await self._fal.estimate(asked.basis, asked.quantities)
        return EstimateAnswer.model_validate(widened(found))

    async def key_set(self, asked: OfKeySet, _progress: Progress) -> KeySetAnswer:
        """Return fal's public keys."""
        found = await self._fal.key_set(is_fresh=asked.fresh)
        return KeySetAnswer.model_validate(widened(found))


def _told(status: Status) -> str:
    if status.queue_position is None:
        return status.status.value
    return f"{status.status.value}, {status.queue_position} in front"


def _left_out(size: int) -> dict[str, object]:
    step = (
        f"The output is over {MAX_OUTPUT_BYTES // 1024} KiB and was left out. Where the job went "
        "through the service: `fal-consumer timeline REQUEST_ID --json` has it."
    )
    return {"output_bytes": size, "next_step": step}


def _output_bytes(output: object, encoded: str | None) -> int:
    if encoded is not None:
        return len(encoded)
    try:
        return 0 if output is None else len(dump_json(output))
    except ValueError:  # nested deeper than JSON can be written here
        return MAX_OUTPUT_BYTES + 1
