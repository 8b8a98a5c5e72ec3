"""The two forms in which fal says no: `detail` on the queue's host, elsewhere an envelope."""

from collections.abc import Mapping

from aiohttp import web

from consumer.simulator.standing import Api

# Source: fal docs, Platform APIs, common error form (read 2026-10-07).
_KINDS = {
    400: "validation_error",
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    405: "validation_error",
    429: "rate_limited",
    501: "not_implemented",
}


def refusal(
    api: Api, status: int, text: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an error in the form of that host."""
    if api is Api.QUEUE:
        return web.json_response({"detail": text}, status=status, headers=headers)
    error = {"type": _KINDS.get(status, "server_error"), "message": text}
    return web.json_response({"error": error}, status=status, headers=headers)
