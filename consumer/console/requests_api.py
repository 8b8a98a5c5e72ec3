"""
`/api/requests` over HTTP: who may ask, what is read of the request, how an answer is written.
"""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

from aiohttp import web

from consumer.console.requests_door import Reply, RequestsDoor, shape_of
from consumer.core.text import parse_json
from consumer.errors import Unavailable

MAX_WAIT_S = 30.0
_WAIT_S = 2.0
_SECONDS = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?")

MayAsk = Callable[[web.Request], None]
"""Raises HTTPUnauthorized or HTTPForbidden."""


def requests_routes(
    door: RequestsDoor, may_read: MayAsk, may_operate: MayAsk
) -> list[web.RouteDef]:
    """Return the routes of `/api/requests`."""

    async def post(request: web.Request) -> web.Response:
        may_operate(request)
        return await _answered(_take(door, request))

    async def get(request: web.Request) -> web.Response:
        may_read(request)
        return await _answered(door.find(request.match_info["id"]))

    return [
        web.post("/api/requests", post),
        web.get(r"/api/requests/{id:[A-Za-z0-9_-]{1,64}}", get),
    ]


async def _answered(asking: Awaitable[Reply]) -> web.Response:
    try:
        reply = await asking
    except Unavailable as exc:
        body = {"error": exc.code, "problem": "try again with the same Idempotency-Key"}
        reply = Reply(503, body, {"Retry-After": "5"})
    text = json.dumps(reply.body)
    return web.Response(
        status=reply.status, text=text, content_type="application/json", headers=reply.headers
    )


async def _take(door: RequestsDoor, request: web.Request) -> Reply:
    keys = request.headers.getall("Idempotency-Key", [])
    if len(keys) > 1:
        return _bad("Idempotency-Key", f"{len(keys)} of them", "one")
    wait = request.query.get("wait", str(_WAIT_S))
    if not _SECONDS.fullmatch(wait) or float(wait) > MAX_WAIT_S:
        return _bad("wait", shape_of(wait), f"seconds from 0 to {MAX_WAIT_S:g}")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return Reply(413, {"error": "too_large", "problem": "the body is over the limit"})
    try:
        fields = parse_json(body)
    except ValueError:
        return _bad("body", f"{len(body)} bytes that are no JSON", "a JSON object")
    if not isinstance(fields, dict):
        return _bad("body", shape_of(fields), "a JSON object")
    return await door.take(fields, keys[0] if keys else None, timedelta(seconds=float(wait)))


def _bad(field: str, got: str, expected: str) -> Reply:
    return Reply(400, {"error": "bad_request", "field": field, "got": got, "expected": expected})
