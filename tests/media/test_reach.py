"""Files come from where they may come, over addresses that may be called, and nowhere else."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from consumer.media.addresses import PublicResolver
from consumer.media.download import Downloader, DownloadLimits, open_downloader
from consumer.media.line import Line
from consumer.media.places import MediaRefused, parse_place
from tests.media.conftest import REQUEST_ID, told, whole

NAME = f"{REQUEST_ID}-01"


class FixedResolver(AbstractResolver):
    """Answers every name with these addresses."""

    def __init__(self, *addresses):
        self._addresses = addresses

    async def resolve(self, host, port=0, family=socket.AF_INET):
        return [
            ResolveResult(
                hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for one in self._addresses
        ]

    async def close(self):
        pass


@pytest.mark.parametrize(
    "path",
    [
        "/other/a.png",
        "/files/../other/a.png",
        "/files/%2e%2e/other/a.png",
        "/files/..%2fother/a.png",
        "/filesystem/a.png",
    ],
)
async def test_other_paths_cause_no_call(host, save, path):
    """A path outside the prefix, also in disguise, is never asked for."""
    host.handler = whole()

    [found] = await save(host.url + path)

    assert "refused" == found.outcome
    assert [] == host.asked


async def test_a_name_that_leads_to_this_machine_causes_no_call(tmp_path):
    """An allowed name that resolves to loopback is refused before a connection is made."""
    connected = []

    async def note(_reader, writer):
        connected.append(writer)
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        resolver = PublicResolver(inner=FixedResolver("127.0.0.1"))
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            place = parse_place(f"cdn.example.com:{port}")
            downloader = Downloader(Line(session, session), [place], DownloadLimits())
            found = await downloader.save(
                tmp_path, REQUEST_ID, [f"https://cdn.example.com:{port}/a.png"]
            )

    assert [("refused", "private_address")] == told(found)
    assert [] == connected


async def test_one_private_address_among_public_ones_is_enough():
    """A name of which any address is private is not used at all."""
    resolver = PublicResolver(inner=FixedResolver("8.8.8.8", "10.0.0.1"))

    with pytest.raises(MediaRefused, match="private_address"):
        await resolver.resolve("cdn.example.com", 443)


async def test_a_loopback_name_leads_to_this_machine_alone():
    """A name that was named for this machine is not used for any other address."""
    resolver = PublicResolver({"localhost"}, FixedResolver("8.8.8.8"))

    with pytest.raises(MediaRefused, match="private_address"):
        await resolver.resolve("localhost", 443)


async def test_loopback_needs_to_be_named(host, tmp_path):
    """Without a place of its own this machine's address is a foreign host."""
    host.handler = whole()
    async with open_downloader([parse_place("*.fal.media")], DownloadLimits()) as downloader:
        found = await downloader.save(tmp_path, REQUEST_ID, [f"{host.url}/files/a.png"])

    assert [("refused", "foreign_host")] == told(found)
    assert [] == host.asked


async def test_localhost_by_name_is_reached_where_it_is_named(host, save):
    """A loopback place may be named by its name."""
    host.handler = whole()
    url = host.url.replace("127.0.0.1", "localhost")

    [found] = await save(f"{url}/files/a.png", places=(parse_place(f"{url}/files/"),))

    assert "saved" == found.outcome


async def test_a_certificate_that_nobody_trusts_is_refused(host, save):
    """A host that cannot prove its name gives no file, and is not asked again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_get("/a", whole())
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    try:
        url = f"https://127.0.0.1:{server.port}"
        found = await save(f"{url}/a", places=(parse_place(url),))
    finally:
        await server.close()

    assert [("refused", "bad_certificate")] == told(found)


async def test_a_proxy_is_told_the_name_and_may_refuse(save, monkeypatch):
    """Behind a proxy the name is not looked up here; the proxy's no is told as such."""
    asked = []

    async def refuse(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        place = parse_place("cdn.example.com")
        found = await save("https://cdn.example.com/a.png", places=(place,))

    assert [("refused", "proxy_refused")] == told(found)
    [head] = asked
    assert head.startswith(b"CONNECT cdn.example.com:443 HTTP/1.1\r\n")


async def test_this_machine_is_never_behind_a_proxy(host, save, monkeypatch):
    """A loopback place is reached straight, whatever proxy is configured."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    host.handler = whole()

    assert [("saved", "")] == told(await save())
