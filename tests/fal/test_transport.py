"""Where the key may travel, and through whom."""

import asyncio
from dataclasses import replace

import pytest
from yarl import URL

from consumer.errors import FalUnavailable, InvariantBroken
from consumer.fal import fixed_credential, open_fal
from consumer.fal.transport import is_safe_origin
from consumer.ports import SubmitOrder, SubmitRefused
from consumer.telemetry import Metrics
from tests.fal.conftest import QUICK

JOB = "019f7085-1439-7320-9a28-939d54dfcee5"
PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def environ(monkeypatch, tmp_path):
    """Set proxy variables, from none; a .netrc of the test's own is in force."""
    for name in PROXY_NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    return monkeypatch.setenv


@pytest.mark.parametrize(
    "url",
    [
        "https://queue.fal.run",
        "http://127.0.0.1:80",
        "http://127.8.9.1",
        "http://[::1]:8080",
        "http://localhost:1/x",
    ],
)
def test_key_travels_encrypted_or_not_at_all_abroad(url):
    """The key goes to https anywhere, to http on this machine alone."""
    assert is_safe_origin(URL(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://queue.fal.run",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "/x",
    ],
)
async def test_unsafe_origin_is_never_opened(url):
    """Anything else is refused before there is a client."""
    assert not is_safe_origin(URL(url))
    with pytest.raises(InvariantBroken):
        async with open_fal(url, fixed_credential("a:b"), metrics=Metrics()):
            pass


@pytest.fixture
async def proxy():
    """A proxy that refuses, and keeps the head of what it was asked."""
    heads: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode("ascii"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", heads


async def test_https_goes_through_the_proxy(proxy, open_client, environ):
    """HTTPS_PROXY is honoured: the proxy sees a CONNECT to fal's host, and never the key."""
    url, heads = proxy
    environ("https_proxy", url)
    fal = await open_client("https://queue.fal.invalid")

    answer = await fal.submit(SubmitOrder("a/b", {}))

    assert SubmitRefused(None, "proxy_refused") == answer
    (head,) = heads
    assert head.startswith("CONNECT queue.fal.invalid:443 ")
    assert "Key" not in head


async def test_proxy_may_ask_for_a_password_and_lack_a_scheme(proxy, open_client, environ):
    """A proxy written as `user:password@host:port` is asked with that password."""
    url, heads = proxy
    environ("https_proxy", url.replace("http://", "me:pw@"))
    fal = await open_client("https://queue.fal.invalid")

    await fal.submit(SubmitOrder("a/b", {}))

    assert "proxy-authorization: basic bwu6chc=" in heads[0].lower()


async def test_silent_host_was_never_connected(open_client):
    """A host that takes the connection and never ends its TLS handshake got nothing of ours."""

    async def hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        heard.set()

    heard = asyncio.Event()
    async with await asyncio.start_server(hear_out, "127.0.0.1", 0) as mute:
        port = mute.sockets[0].getsockname()[1]
        limits = replace(QUICK, connect_s=0.1)
        fal = await open_client(f"https://127.0.0.1:{port}", limits=limits)

        answer = await fal.submit(SubmitOrder("a/b", {}))
        await heard.wait()

    assert answer == SubmitRefused(None, "not_connected")


async def test_no_proxy_is_honoured(server, open_client, environ):
    """A host that NO_PROXY names is called directly."""
    environ("https_proxy", server.url)
    environ("no_proxy", "fal.invalid")
    fal = await open_client("https://queue.fal.invalid")

    with pytest.raises(FalUnavailable, match="not_connected"):
        await fal.status("a/b", JOB)

    assert server.seen == []


async def test_loopback_never_uses_a_proxy(server, other_server, fal, environ, open_client):
    """A stand-in on this machine is called directly: a proxy would see the key in clear."""
    environ("http_proxy", other_server.url)
    direct = await open_client()

    with pytest.raises(FalUnavailable):
        await direct.status("a/b", JOB)

    assert other_server.seen == []
    assert len(server.seen) == 3


async def test_netrc_does_not_replace_the_key(server, open_client, environ):
    """A .netrc entry, even a default one, neither joins nor breaks a call."""
    fal = await open_client()

    with pytest.raises(FalUnavailable):
        await fal.status("a/b", JOB)

    assert {"Key id-of-key:secret-of-key"} == {
        seen.headers["Authorization"] for seen in server.seen
    }


async def test_cookies_are_not_kept(server, open_client):
    """Each call stands alone."""
    server.answers[0].headers["Set-Cookie"] = "a=b"
    fal = await open_client()

    with pytest.raises(FalUnavailable):
        await fal.status("a/b", JOB)

    assert all("Cookie" not in seen.headers for seen in server.seen)
