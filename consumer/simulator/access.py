"""
Who may call: fal's check of the `Authorization` header, for queue and platform alike.

Returns words, never answers: the two hosts put them into different error forms.
"""

import hmac
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(slots=True)
class Access:
    """
    The keys that are good now; both may be exchanged while the simulator runs.

    With `api_key` None any non-empty `Key …` passes. `admin_key` passes too, and is an ADMIN
    key; without one, every key that passes is ADMIN where `is_admin` says so.
    """

    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    is_admin: bool = True

    def refusal_of(self, request: web.Request, app: str = "") -> str | None:
        """
        Return why fal would answer 401, None when the call may pass.

        The given key is never part of the text.

        Source: fal docs, Authentication (read 2026-10-07); texts as reported by users.
        """
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return (
                f'Cannot access application "{app}". '
                "Authentication is required to access this application."
            )
        if scheme.lower() == "bearer":
            return "bearer: unable to decode issuer"
        if scheme.lower() != "key" or not given.strip():
            return "invalid key credentials"
        is_known = self.api_key is None or _is_same(given, self.api_key)
        return None if is_known or self._is_admin_key(given) else "invalid key credentials"

    def may_administrate(self, request: web.Request) -> bool:
        """Tell whether a call that passed has an ADMIN key."""
        if self.admin_key is None:
            return self.is_admin
        return self._is_admin_key(request.headers.get("Authorization", "").partition(" ")[2])

    def _is_admin_key(self, given: str) -> bool:
        return self.admin_key is not None and _is_same(given, self.admin_key)


def is_anonymous(request: web.Request) -> bool:
    """Tell whether a call names no credential at all."""
    return "Authorization" not in request.headers


def key_id_of(request: web.Request) -> str:
    """Return the public half of the key, which names it in bills."""
    return request.headers.get("Authorization", "").partition(" ")[2].strip().partition(":")[0]


def _is_same(given: str, key: str) -> bool:
    return hmac.compare_digest(given.strip().encode(), key.encode())
