"""
Faults on demand: the next calls of an operation fail the way fal, or what stands before it, fails.

The plan is plain state; `early_answer` and `spoiled` are the only places that know what each
fault looks like. What lasts until it is lifted is in `standing`.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from consumer.simulator.errors import refusal
from consumer.simulator.standing import Api, LockReason


class Operation(StrEnum):
    """The calls a fault can be planned for."""

    SUBMIT = "submit"
    STATUS = "status"
    STREAM = "stream"
    RESULT = "result"
    CANCEL = "cancel"
    LISTING = "listing"
    META = "meta"
    MODELS = "models"
    PRICING = "pricing"
    ESTIMATE = "estimate"
    USAGE = "usage"
    BILLING = "billing"
    ACCOUNT = "account"


class Fault(StrEnum):
    """
    What a call can meet instead of its answer.

    Source: fal docs, Errors and Queue (read 2026-10-07); texts of 403 and 502 as reported by users.
    """

    RATE_LIMITED = "rate_limited"  # 429 with Retry-After
    RATE_LIMITED_RESET = "rate_limited_reset"  # 429 with x-ratelimit-reset
    RATE_LIMITED_BARE = "rate_limited_bare"  # 429 without either
    LOCKED = "locked"  # 403, the account is out of credit
    SERVER_ERROR = "server_error"  # 500 from fal itself
    NGINX_502 = "nginx_502"  # a bare HTML page without x-fal-request-id
    HTML_403 = "html_403"  # a challenge page in front of the platform API
    CUT = "cut"  # the connection dies before any answer, and nothing was done
    LOST = "lost"  # the call is carried out, and the connection dies before the answer
    EMPTY = "empty"  # the answer's code and headers, and no body
    HALF = "half"  # the first half of the body, as if it were all
    TRUNCATED = "truncated"  # the connection dies in the middle of the body


# The call is carried out all the same: these spoil its answer.
SPOILING = frozenset({Fault.LOST, Fault.EMPTY, Fault.HALF, Fault.TRUNCATED})

_PAGES = {
    Fault.NGINX_502: (502, "502 Bad Gateway", "nginx"),
    Fault.HTML_403: (403, "Just a moment...", "cloudflare"),
}
_REFUSALS = {
    Fault.LOCKED: (403, LockReason.EXHAUSTED_BALANCE.text),
    Fault.SERVER_ERROR: (500, "An unexpected error occurred"),
    Fault.RATE_LIMITED: (429, "Rate limit exceeded"),
    Fault.RATE_LIMITED_RESET: (429, "Rate limit exceeded"),
    Fault.RATE_LIMITED_BARE: (429, "Rate limit exceeded"),
}
_HINTS = {Fault.RATE_LIMITED: "Retry-After", Fault.RATE_LIMITED_RESET: "x-ratelimit-reset"}


@dataclass(slots=True)
class _Planned:
    fault: Fault
    retry_after_s: float
    count: int


class FaultPlan:
    """Which faults the next calls meet, first planned first."""

    def __init__(self) -> None:
        self._planned: defaultdict[Operation, deque[_Planned]] = defaultdict(deque)

    def add(self, operation: Operation, fault: Fault, count: int, retry_after_s: float) -> None:
        """Let the next `count` calls of this operation fail, after those already planned."""
        self._planned[operation].append(_Planned(fault, retry_after_s, count))

    def clear(self) -> None:
        """Forget all planned faults."""
        self._planned.clear()

    def take(self, operation: Operation) -> tuple[Fault, float] | None:
        """Return the fault this call meets with its Retry-After in seconds, None for none."""
        planned = self._planned[operation]
        while planned and planned[0].count <= 0:
            planned.popleft()
        if not planned:
            return None
        planned[0].count -= 1
        return planned[0].fault, planned[0].retry_after_s


def early_answer(
    fault: Fault, retry_after_s: float, request: web.Request, api: Api
) -> web.Response:
    """Return what a call meets instead of being carried out; not for those in SPOILING."""
    if fault is Fault.CUT:
        return cut(request)
    if fault in _PAGES:
        return _page(*_PAGES[fault])
    headers: Mapping[str, str] = {}
    if fault in _HINTS:
        headers = {_HINTS[fault]: f"{retry_after_s:g}"}
    return refusal(api, *_REFUSALS[fault], headers=headers)


async def spoiled(
    fault: Fault, request: web.Request, answer: web.StreamResponse
) -> web.StreamResponse:
    """Return the answer as it arrives when this fault of SPOILING meets it."""
    if not isinstance(answer, web.Response):
        return answer
    content = bytes(answer.body) if isinstance(answer.body, bytes | bytearray) else b""
    match fault:
        case Fault.LOST:
            return cut(request)
        case Fault.EMPTY:
            answer.body = b""
        case Fault.HALF:
            answer.body = content[: len(content) // 2]
        case Fault.TRUNCATED:
            return await _torn(request, answer, content)
    return answer


def cut(request: web.Request) -> web.Response:
    """Drop the connection without an answer; the returned response is never written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _torn(request: web.Request, answer: web.Response, content: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it, and close."""
    torn = web.StreamResponse(status=answer.status, headers=answer.headers)
    torn.content_length = max(2, len(content))
    await torn.prepare(request)
    await torn.write(content[: len(content) // 2] or b"{")
    if request.transport is not None:
        request.transport.close()
    return torn


def _page(status: int, title: str, server: str) -> web.Response:
    # nginx's own page, which fal's client for Python knows by the last word.
    text = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
    )
    return web.Response(
        status=status, text=text, content_type="text/html", headers={"Server": server}
    )
