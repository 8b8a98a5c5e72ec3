"""Fetching a key document from endpoints that misbehave, over real HTTP."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from consumer.errors import KeysUnavailable
from consumer.jwks.fetch import MAX_DOCUMENT_BYTES, Fetched, fetch_document


@asynccontextmanager
async def endpoint(answer, *, closes=True):
    """Serve one fixed answer to every request; yields its URL and the requests."""
    asked, writers = [], []

    async def serve(reader, writer):
        writers.append(writer)
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if closes:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield f"http://{host}:{port}/.well-known/jwks.json", asked
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def ok(body, *headers):
    lines = "".join(f"{header}\r\n" for header in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


async def test_a_document_comes_with_the_time_of_the_answer():
    """The body is returned as it came, with the other side's clock."""
    answer = ok(b"{}", "Date: Thu, 16 Jul 2026 12:46:54 GMT")
    async with endpoint(answer) as (url, _):
        assert Fetched(b"{}", datetime(2026, 7, 16, 12, 46, 54, tzinfo=UTC)) == (
            await fetch_document(url)
        )


@pytest.mark.parametrize(
    "headers, seconds",
    [
        (("Date: Thu, 16 Jul 2026 12:46:00 GMT", "Age: 54"), 54),
        (("Date: Thu, 16 Jul 2026 12:46:00 GMT", "Age: x"), 0),
        (("Date: Thu, 16 Jul 2026 12:46:00 -0000",), 0),
        (("Date: yesterday",), None),
        ((), None),
    ],
)
async def test_the_time_of_an_answer_from_a_cache(headers, seconds):
    """An answer that waited in a cache is as much younger as it says; a bad date tells nothing."""
    async with endpoint(ok(b"{}", *headers)) as (url, _):
        fetched = await fetch_document(url)

    expected = None
    if seconds is not None:
        expected = datetime(2026, 7, 16, 12, 46, seconds, tzinfo=UTC)
    assert expected == fetched.server_time


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 302 Go\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        ok(b"x" * (10 << 20)),
        ok(b"x" * (MAX_DOCUMENT_BYTES + 1)),
        ok(b"\x1f\x8b", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"garbage\r\n\r\n",
        b"",
    ],
)
async def test_anything_but_a_whole_document_is_unavailable(answer):
    """5xx, a redirect, 10 MB, compression, a cut, garbage, silence: KeysUnavailable."""
    async with endpoint(answer) as (url, asked):
        with pytest.raises(KeysUnavailable):
            await fetch_document(url)

    # The client asks once more where a connection ends without any answer.
    assert len(asked) == (1 if answer else 2)


async def test_a_document_of_the_limit_is_taken():
    """64 KiB are not too much."""
    async with endpoint(ok(b"x" * MAX_DOCUMENT_BYTES)) as (url, _):
        assert MAX_DOCUMENT_BYTES == len((await fetch_document(url)).document)


async def test_an_endpoint_that_hangs_is_unavailable_in_time():
    """An answer that does not end is given up at the deadline."""
    async with endpoint(b"HTTP/1.1 200 OK\r\n", closes=False) as (url, _):
        with pytest.raises(KeysUnavailable, match="deadline"):
            await fetch_document(url, deadline=timedelta(milliseconds=100))


async def test_an_endpoint_that_is_not_there_is_unavailable():
    """A refused connection and an address that is none are KeysUnavailable."""
    async with endpoint(b"") as (url, _):
        pass
    for nowhere in (url, "http://", "nonsense"):
        with pytest.raises(KeysUnavailable):
            await fetch_document(nowhere)
