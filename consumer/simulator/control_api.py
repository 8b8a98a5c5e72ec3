"""
The simulator's own HTTP door under `/_simulator`: read the books, turn its knobs.

Fal has nothing like it. Each handler calls the method of `Simulator` with the same meaning.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from consumer.simulator.faults import Fault, Operation
from consumer.simulator.jwks_api import JwksMode
from consumer.simulator.loose import LooseDelivery, Signature
from consumer.simulator.standing import Api, Hint, LockReason, RateLimit
from consumer.simulator.webhooks import NotLoopbackError

if TYPE_CHECKING:
    from consumer.simulator.server import Simulator

Choice = TypeVar("Choice", bound=StrEnum)


class ControlApi:
    """Handlers over one simulator."""

    def __init__(self, simulator: "Simulator") -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        return [
            web.get("/_simulator/books", self._books),
            web.get("/_simulator/totals", self._totals),
            web.get("/_simulator/idle", self._idle),
            web.post("/_simulator/rotate", self._rotate),
            web.post("/_simulator/jwks", self._jwks),
            web.post("/_simulator/faults", self._faults),
            web.delete("/_simulator/faults", self._clear_faults),
            web.post("/_simulator/rate-limit", self._limit_rate),
            web.delete("/_simulator/rate-limit", self._lift_limit),
            web.post("/_simulator/lock", self._lock),
            web.delete("/_simulator/lock", self._unlock),
            web.post("/_simulator/stream", self._stream),
            web.post("/_simulator/keys", self._keys),
            web.post("/_simulator/pause", self._pause),
            web.post("/_simulator/resume", self._resume),
            web.post("/_simulator/deliver", self._deliver),
            web.route("*", "/_simulator/{tail:.*}", _nothing_here),
        ]

    async def _books(self, _request: web.Request) -> web.Response:
        return web.json_response(self._simulator.books().as_dict())

    async def _totals(self, _request: web.Request) -> web.Response:
        return web.json_response(self._simulator.books().totals())

    async def _idle(self, request: web.Request) -> web.Response:
        try:
            timeout_s = float(request.query.get("timeout_s", "30"))
        except ValueError as exc:
            raise web.HTTPBadRequest(text="timeout_s: expected seconds") from exc
        is_idle = await self._simulator.wait_idle(timeout_s)
        return web.json_response({"idle": is_idle} | self._simulator.pending())

    async def _rotate(self, request: web.Request) -> web.Response:
        if request.query.get("publish_first") == "1":
            self._simulator.publish_next_key()
        else:
            self._simulator.rotate_key()
        ring = self._simulator.keys
        published = [key.kid for key in ring.published]
        return web.json_response({"signing": ring.signing.kid, "published": published})

    async def _jwks(self, request: web.Request) -> web.Response:
        body = await _object(request)
        mode = _choice(JwksMode, body, "mode")
        self._simulator.set_jwks(mode, slow_s=_number(body, "slow_s", 30.0))
        return web.json_response({"mode": mode})

    async def _faults(self, request: web.Request) -> web.Response:
        body = await _object(request)
        operation, fault = _choice(Operation, body, "operation"), _choice(Fault, body, "fault")
        count = int(_number(body, "count", 1))
        retry_after_s = _number(body, "retry_after_s", 1.0)
        self._simulator.plan_faults(operation, fault, count, retry_after_s=retry_after_s)
        return web.json_response({"operation": operation, "fault": fault, "count": count})

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._simulator.clear_faults()
        return web.json_response({})

    async def _limit_rate(self, request: web.Request) -> web.Response:
        body = await _object(request)
        hint = _choice(Hint, {"hint": Hint.RETRY_AFTER} | body, "hint")
        calls, window_s = _number(body, "calls"), _number(body, "window_s", 1.0)
        try:
            limit = RateLimit(int(calls), window_s, hint)
        except ValueError as exc:
            raise web.HTTPBadRequest(text=str(exc)) from exc
        apis = [_choice(Api, body, "api")] if "api" in body else []
        self._simulator.limit_rate(limit, *apis)
        return web.json_response({"calls": limit.calls, "window_s": window_s, "hint": hint})

    async def _lift_limit(self, _request: web.Request) -> web.Response:
        self._simulator.limit_rate(None)
        return web.json_response({})

    async def _lock(self, request: web.Request) -> web.Response:
        body = {"reason": LockReason.EXHAUSTED_BALANCE} | await _object(request)
        reason = _choice(LockReason, body, "reason")
        self._simulator.lock(reason)
        return web.json_response({"reason": reason})

    async def _unlock(self, _request: web.Request) -> web.Response:
        self._simulator.unlock()
        return web.json_response({})

    async def _stream(self, request: web.Request) -> web.Response:
        body = await _object(request)
        after_s = None if body.get("cut_after_s") is None else _number(body, "cut_after_s")
        self._simulator.cut_streams(after_s)
        return web.json_response({"cut_after_s": after_s})

    async def _keys(self, request: web.Request) -> web.Response:
        body = await _object(request)
        api_key, admin_key = _text(body, "api_key"), _text(body, "admin_key")
        self._simulator.exchange_keys(api_key, admin_key)
        return web.json_response({})

    async def _pause(self, _request: web.Request) -> web.Response:
        self._simulator.pause_webhooks()
        return web.json_response({"paused": True})

    async def _resume(self, _request: web.Request) -> web.Response:
        self._simulator.resume_webhooks()
        return web.json_response({"paused": False})

    async def _deliver(self, request: web.Request) -> web.Response:
        try:
            attempt = await self._simulator.deliver(_loose_delivery(await _object(request)))
        except NotLoopbackError as exc:
            raise web.HTTPBadRequest(text=str(exc)) from exc
        return web.json_response(attempt.as_dict())


async def _nothing_here(_request: web.Request) -> web.Response:
    return web.Response(status=404, text="the simulator has no such control")


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except ValueError as exc:
        raise web.HTTPBadRequest(text="expected a JSON object") from exc
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="expected a JSON object")
    return body


def _loose_delivery(body: Mapping[str, Any]) -> LooseDelivery:
    """Read the body of `deliver`; every field but `url` has a default."""
    try:
        content = (
            base64.b64decode(body["body_base64"], validate=True)
            if "body_base64" in body
            else str(body.get("body", "{}")).encode()
        )
        return LooseDelivery(
            url=str(body["url"]),
            body=content,
            request_id=_text(body, "request_id"),
            user_id=_text(body, "user_id"),
            timestamp=None if body.get("timestamp") is None else int(body["timestamp"]),
            signature=Signature(body.get("signature", Signature.CURRENT)),
            headers={str(name): str(text) for name, text in body.get("headers", {}).items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError, binascii.Error) as exc:
        raise web.HTTPBadRequest(text=f"deliver: unusable {exc}") from exc


def _text(body: Mapping[str, Any], name: str) -> str | None:
    return None if body.get(name) is None else str(body[name])


def _number(body: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise web.HTTPBadRequest(text=f"{name}: expected a number of 0 or more")
    return float(value)


def _choice(kinds: type[Choice], body: Mapping[str, Any], name: str) -> Choice:
    try:
        return kinds(str(body.get(name)))
    except ValueError as exc:
        known = ", ".join(kinds)
        raise web.HTTPBadRequest(text=f"{name}: expected one of {known}") from exc
