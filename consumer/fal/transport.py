"""
One HTTP call to a configured host, bounded in time, bytes and number, and its errors as ours.

Knows no endpoint, no request and no meaning of an answer. The key is added here, per call,
after the origin check, and nowhere else; redirects are not followed; cookies are not kept.
"""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from consumer.errors import FalRefused, FalUnavailable, InvariantBroken
from consumer.fal.call import Answer, Call, Host
from consumer.fal.credentials import Credential
from consumer.telemetry import Metrics

BACKUP_ORIGINS: Mapping[str, str] = {"https://queue.fal.run": "https://queue.falrun.com"}
# The same service under a second name, for when the first cannot be reached.
# Source: fal's official clients (fal-client 1.0.3), which ask it once.

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FalLimits:
    """
    How long, how large, how many. Seconds and bytes.

    `connect_s`: as fal's own clients (fal-client 1.0.3); twice that with looking up the
    name and TLS. `max_result_bytes`: fal names no limit. `max_calls` bounds submits, reads
    and the short waits between tries, so at worst 32 results of 64 MiB are held at once.
    `listing_s` and `max_page_bytes` are for one page of the platform's lists; fifty models
    with their OpenAPI have a few MiB. A stream is quiet for 15 s at most (fal docs, "Queue
    status stream", 2026-10), so one quiet for `stream_quiet_s` is dead.
    A call that is answered 429 is sent up to `limited_tries` times, at the pace that the host
    is found to take; `limited_wait_s` is the first pause where it names none. A longer wait
    than `max_retry_wait_s` is the caller's.
    `probe_s`: where fal refuses the key, or says that the account is locked, how long until
    it is asked again; doubled up to `max_probe_s` while a lock stays.
    """

    connect_s: float = 5.0
    submit_s: float = 60.0
    status_s: float = 30.0
    result_s: float = 60.0
    cancel_s: float = 30.0
    listing_s: float = 60.0
    stream_quiet_s: float = 40.0
    max_answer_bytes: int = 1024 * 1024
    max_result_bytes: int = 64 * 1024 * 1024
    max_page_bytes: int = 32 * 1024 * 1024
    max_calls: int = 32
    tries: int = 3
    limited_tries: int = 8
    limited_wait_s: float = 0.5
    retry_wait_s: float = 0.25
    max_retry_wait_s: float = 5.0
    probe_s: float = 60.0
    max_probe_s: float = 600.0


class NotConnected(FalUnavailable):
    """No connection was made, so nothing was sent: the one failure that proves no job exists."""


Bases = Mapping[Host, Sequence[str]]
"""The addresses of each host, preferred first; a path is put in front of every call's."""


class Sessions(NamedTuple):
    """One that keeps connections, and one that makes a connection for each call."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession


class Transport:
    """Sends calls to their host, and to its backup when the first cannot be reached."""

    def __init__(
        self,
        sessions: Sessions,
        bases: Bases,
        credential: Credential,
        limits: FalLimits,
        metrics: Metrics,
    ) -> None:
        self._sessions = sessions
        self._bases = {
            host: [URL(url.rstrip("/"), encoded=True) for url in urls]
            for host, urls in bases.items()
        }
        self._proxies = {base: _proxy_of(base) for urls in self._bases.values() for base in urls}
        self._credential = credential
        self._slots = asyncio.Semaphore(limits.max_calls)
        self._metrics = metrics

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the bounded places for a call, its retries and the waits between them."""
        async with self._slots:
            yield

    async def send(self, call: Call) -> Answer:
        """
        Send the call once, and once more to the backup when no connection was made.

        Raises NotConnected, FalUnavailable for an answer that was cut, and FalRefused for one
        of more than `max_bytes`. The deadline is the caller's.
        """
        async with self.open(call) as response:
            return Answer(
                response.status,
                response.headers.copy(),
                await read_bounded(response, call.max_bytes),
            )

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Send the call as `send` does, and hold the answer open while it is read in pieces.

        What goes wrong while it is read is FalUnavailable.
        """
        *firsts, last = self._bases[call.host]
        for base in firsts:
            try:
                async with self._open_at(base, call) as response:
                    yield response
                    return
            except NotConnected:
                continue
        async with self._open_at(last, call) as response:
            yield response

    @asynccontextmanager
    async def _open_at(self, base: URL, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(f"{base}{call.path}{'?' if call.query else ''}{call.query}", encoded=True)
        if url.origin() != base.origin() or not is_safe_origin(url):
            raise InvariantBroken("a call to fal stays on its configured origin")
        session = self._sessions.fresh if call.is_unrepeatable else self._sessions.kept
        http_status = "none"
        try:
            async with session.request(
                call.method,
                url,
                headers={**call.headers, **self._authorization(call)},
                data=call.body,
                allow_redirects=False,
                proxy=self._proxies[base],
            ) as response:
                http_status = str(response.status)
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise NotConnected("not_connected") from exc
        except aiohttp.ClientHttpProxyError as exc:
            raise NotConnected("proxy_refused") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # ValueError: answers whose headers or encoding the HTTP library cannot read.
            raise FalUnavailable("cut") from exc
        finally:
            self._metrics.fal_calls.labels(call.operation, http_status).inc()

    def _authorization(self, call: Call) -> Mapping[str, str]:
        return {} if call.is_public else {"Authorization": f"Key {self._credential.key}"}


@asynccontextmanager
async def open_transport(
    bases: Bases, credential: Credential, limits: FalLimits, metrics: Metrics
) -> AsyncIterator[Transport]:
    """Open a transport to these hosts; each address https, or http on loopback."""
    for url in (url for urls in bases.values() for url in urls):
        if not is_safe_origin(URL(url)):
            raise InvariantBroken("fal's origin is https, or http on loopback")
    async with (
        _open_session(limits, is_kept=True) as kept,
        _open_session(limits, is_kept=False) as fresh,
    ):
        yield Transport(Sessions(kept, fresh), bases, credential, limits, metrics)


def _open_session(limits: FalLimits, *, is_kept: bool) -> aiohttp.ClientSession:
    # Not `trust_env`: with it a .netrc entry for the host, or its default entry, collides
    # with our own header and every call raises (aiohttp 3.14). `_proxy_of` does its part.
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(
            total=None, connect=2 * limits.connect_s, sock_connect=limits.connect_s
        ),
        connector=aiohttp.TCPConnector(limit=0, force_close=not is_kept),  # `max_calls` bounds
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "fal-consumer", "Accept": "application/json"},
        max_line_size=32 * 1024,  # fal allows 16 KB of headers (fal docs, 2026-10)
        max_field_size=32 * 1024,
    )


def is_safe_origin(url: URL) -> bool:
    """Tell whether the key may travel there: https, or http that never leaves this machine."""
    return url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.host or ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _proxy_of(base: URL) -> URL | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY name for this origin; loopback has none."""
    host = base.host or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    proxy = getproxies().get(base.scheme, "")
    if not proxy:
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the whole body. Raises FalRefused, or FalUnavailable, for more than `max_bytes`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            response.close()
            if response.status >= 500:
                raise FalUnavailable("too_large")
            raise FalRefused(response.status, "too_large")
        chunks.append(chunk)
    return b"".join(chunks)
