"""
The way to the host of a file: straight to a public address, or through the configured proxy.

Never with a key, a cookie or a `.netrc`; no redirect, no encoding. Errors of the HTTP
library end here.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from consumer.media.addresses import PublicResolver
from consumer.media.answers import Again
from consumer.media.places import MediaRefused, Source


class Line:
    """Asks for files. Made by `open_line`."""

    def __init__(self, direct: aiohttp.ClientSession, proxied: aiohttp.ClientSession) -> None:
        self._direct = direct
        self._proxied = proxied

    @asynccontextmanager
    async def get(
        self, source: Source, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """
        Ask for a file, and hold the answer open while it is read.

        Raises Again where a connection was not made or cut, and MediaRefused for what no
        other try would change, a private address among it.
        """
        proxy = _proxy_of(source)
        session = self._proxied if proxy else self._direct
        url = URL(source.url, encoded=True)  # as it was judged
        try:
            async with session.get(
                url, headers=headers, allow_redirects=False, proxy=proxy
            ) as response:
                yield response
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as exc:
            raise MediaRefused("bad_certificate") from exc
        except aiohttp.ClientHttpProxyError as exc:
            raise MediaRefused("proxy_refused") from exc
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as exc:
            raise MediaRefused("unreadable_answer") from exc
        except aiohttp.ClientConnectorError as exc:
            raise Again("no_connection") from exc
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as exc:
            raise Again("cut") from exc


@asynccontextmanager
async def open_line(
    loopback: Collection[str], *, connect_s: float, quiet_s: float
) -> AsyncIterator[Line]:
    """
    Open the way. Hosts in `loopback` may be this machine; a connection is made within
    `connect_s` and may be quiet for `quiet_s` seconds.
    """
    timeout = aiohttp.ClientTimeout(
        total=None, connect=2 * connect_s, sock_connect=connect_s, sock_read=quiet_s
    )
    async with (
        # Behind a proxy it is the proxy that looks names up, so it judges addresses.
        _session(timeout, PublicResolver(loopback)) as direct,
        _session(timeout, None) as proxied,
    ):
        yield Line(direct, proxied)


def _session(
    timeout: aiohttp.ClientTimeout, resolver: PublicResolver | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=timeout,
        # Without a cache every connection is to an address that was judged for it.
        connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "fal-consumer", "Accept": "*/*", "Accept-Encoding": "identity"},
        auto_decompress=False,
    )


def _proxy_of(source: Source) -> URL | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY name for this host; loopback has none."""
    if source.is_loopback or proxy_bypass(source.host):
        return None
    proxy = getproxies().get(source.scheme, "")
    if not proxy:
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")
