"""
Who may call: fal's check of the `Authorization` header, for queue and platform alike.

Returns words, never answers: the two hosts put them into different error forms.
"""

import hmac

from aiohttp import web


def refusal_of(request: web.Request, api_key: str | None) -> str | None:
    """
    Return why fal would answer 401, None when the call may pass.

    With `api_key` None any non-empty `Key …` passes. The given key is never part of the text.

    Source: fal docs, Authentication (read 2026-10-07); texts as reported by users.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return "Cannot access application. Authentication is required to access this application."
    if scheme.lower() == "bearer":
        return "bearer: unable to decode issuer"
    if scheme.lower() != "key" or not given.strip():
        return "invalid key credentials"
    if api_key is not None and not hmac.compare_digest(given.strip().encode(), api_key.encode()):
        return "invalid key credentials"
    return None
