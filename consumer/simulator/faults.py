"""
Faults on demand: the next calls of an operation fail the way fal, or what stands before it, fails.

The plan is plain state; `fault_answer` is the only place that knows what each fault looks like.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web


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
    BILLING = "billing"


class Fault(StrEnum):
    """
    What a call can meet instead of its answer.

    Source: fal docs, Errors and Queue (read 2026-10-07); texts of 403 and 502 as reported by users.
    """

    RATE_LIMITED = "rate_limited"  # 429 with Retry-After
    RATE_LIMITED_BARE = "rate_limited_bare"  # 429 without
    LOCKED = "locked"  # 403, the account is out of credit
    SERVER_ERROR = "server_error"  # 500 from fal itself
    NGINX_502 = "nginx_502"  # a bare HTML page without x-fal-request-id
    HTML_403 = "html_403"  # a challenge page in front of the platform API
    CUT = "cut"  # the connection dies before any answer


_PAGES = {
    Fault.NGINX_502: (502, "502 Bad Gateway", "nginx"),
    Fault.HTML_403: (403, "Just a moment...", "cloudflare"),
}
_REFUSALS = {
    Fault.LOCKED: (
        403,
        "User is locked. Reason: Exhausted balance. Top up at fal.ai/dashboard/billing.",
    ),
    Fault.SERVER_ERROR: (500, "An unexpected error occurred"),
    Fault.RATE_LIMITED: (429, "Rate limit exceeded"),
    Fault.RATE_LIMITED_BARE: (429, "Rate limit exceeded"),
}


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


def fault_answer(
    plan: FaultPlan, operation: Operation, request: web.Request, *, has_envelope: bool = False
) -> web.Response | None:
    """Return the answer of the fault this call meets, None when it meets none."""
    taken = plan.take(operation)
    if taken is None:
        return None
    fault, retry_after_s = taken
    if fault is Fault.CUT:
        return cut(request)
    if fault in _PAGES:
        return _page(*_PAGES[fault])
    status, text = _REFUSALS[fault]
    response = envelope(status, text) if has_envelope else _detail(status, text)
    if fault is Fault.RATE_LIMITED:
        response.headers["Retry-After"] = f"{retry_after_s:g}"
    return response


def cut(request: web.Request) -> web.Response:
    """Drop the connection without an answer; the returned response is never written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def envelope(status: int, message: str) -> web.Response:
    """
    Return an error of the platform API.

    Source: fal docs, Platform APIs, common error form (read 2026-10-07).
    """
    kinds = {
        400: "validation_error",
        401: "authorization_error",
        403: "authorization_error",
        404: "not_found",
        429: "rate_limited",
    }
    error = {"type": kinds.get(status, "server_error"), "message": message}
    return web.json_response({"error": error}, status=status)


def _detail(status: int, text: str) -> web.Response:
    return web.json_response({"detail": text}, status=status)


def _page(status: int, title: str, server: str) -> web.Response:
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return web.Response(
        status=status, text=text, content_type="text/html", headers={"Server": server}
    )
