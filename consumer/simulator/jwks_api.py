"""The key set's endpoint, in good order or in one of the ways such an endpoint goes wrong."""

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from consumer.simulator.books import Books
from consumer.simulator.keys import KeyRing, jwks_document

JWKS_PATH = "/.well-known/jwks.json"
_HUGE_BYTES = 10 * 1024 * 1024


class JwksMode(StrEnum):
    """How the endpoint answers."""

    OK = "ok"
    DOWN = "down"
    SLOW = "slow"
    HTML = "html"
    HUGE = "huge"
    EMPTY = "empty"
    REDIRECT = "redirect"
    WRONG_CURVE = "wrong_curve"
    GARBAGE = "garbage"


@dataclass(slots=True)
class JwksApi:
    """
    The endpoint; `slow_s` are the real seconds that mode `slow` takes before it answers.

    Its `Date` follows `now`, so that a simulator with a wrong clock is wrong throughout.
    """

    keys: KeyRing
    books: Books
    now: Callable[[], float]
    mode: JwksMode = JwksMode.OK
    slow_s: float = 30.0

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer one fetch, and count it."""
        self.books.jwks_fetches += 1
        document = jwks_document(self.keys.published)
        match self.mode:
            case JwksMode.DOWN:
                return web.Response(status=503)
            case JwksMode.HTML:
                return web.Response(text="<html>maintenance</html>", content_type="text/html")
            case JwksMode.REDIRECT:
                return web.Response(status=302, headers={"Location": f"{JWKS_PATH}?moved=1"})
            case JwksMode.HUGE:
                document = document[:-1] + b" " * _HUGE_BYTES + document[-1:]
            case JwksMode.EMPTY:
                document = b'{"keys":[]}'
            case JwksMode.WRONG_CURVE:
                document = _wrong_curve()
            case JwksMode.GARBAGE:
                document = b"\xff\xfe" + secrets.token_bytes(512)
            case JwksMode.SLOW:
                await asyncio.sleep(self.slow_s)
        date = formatdate(self.now(), usegmt=True)
        return web.Response(body=document, content_type="application/json", headers={"Date": date})


def _wrong_curve() -> bytes:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public)
    return b'{"keys":[{"kty":"OKP","crv":"X25519","kid":"wrong","x":"%s","use":"sig"}]}' % x
