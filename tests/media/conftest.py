"""A real server of files that misbehaves as told, and a downloader that may go to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.media.download import Download, DownloadLimits, open_downloader
from consumer.media.places import Place, parse_place

REQUEST_ID = "019f6af7-3088-7f03-b97d-84fec4a3ce12"
BODY = bytes(range(256)) * 1024  # 256 KiB that repeat at no power of two but their own

Handler = Callable[[web.Request], "asyncio.Future[web.StreamResponse]"]


@dataclass
class FileHost:
    """What was asked of it, and how it answers: `handler` decides."""

    asked: list[web.Request] = field(default_factory=list)
    handler: Handler | None = None
    url: str = ""
    held: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Note the request and answer it as told."""
        self.asked.append(request)
        assert self.handler is not None
        return await self.handler(request)

    def moved(self, _number: int, size: int, _total: int | None) -> None:
        """Hear how much of a file the other side holds."""
        self.held = size
        self.news.set()

    async def wait_until_held(self, size: int) -> None:
        """Return once the other side holds so many bytes."""
        while self.held < size:
            self.news.clear()
            await self.news.wait()

    def ranges(self) -> list[str | None]:
        """Return the Range of each request, in order."""
        return [request.headers.get("Range") for request in self.asked]


@pytest.fixture
async def host() -> AsyncIterator[FileHost]:
    found = FileHost()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        found.url = f"http://127.0.0.1:{server.port}"
        yield found


@pytest.fixture
def save(host: FileHost, tmp_path: Path):
    """Return what saves files of the host into a folder."""

    async def run(
        *urls: str, places: tuple[Place, ...] = (), folder: Path | None = None, **limits
    ) -> list[Download]:
        fast = {"retry_wait_s": 0.001, "tries": 3, **limits}
        allowed = places or (parse_place(f"{host.url}/files/"),)
        async with open_downloader(allowed, DownloadLimits(**fast)) as downloader:
            return await downloader.save(
                folder or tmp_path / "out",
                REQUEST_ID,
                urls or (f"{host.url}/files/a.png",),
                host.moved,
            )

    return run


def whole(body: bytes = BODY, content_type: str = "image/png", **headers: str) -> Handler:
    """Return the answer of a host that serves ranges of a body as RFC 9110 has it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        told = {"Content-Type": content_type, "ETag": '"v1"', **headers}
        asked = request.headers.get("Range")
        if asked is None or request.headers.get("If-Range") != told["ETag"]:
            return web.Response(body=body, headers=told)
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        if first >= len(body):
            return web.Response(
                status=416, headers={**told, "Content-Range": f"bytes */{len(body)}"}
            )
        told["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return web.Response(status=206, body=body[first:], headers=told)

    return answer


def cut_after(host: FileHost, size: int, then: Handler, **headers: str) -> Handler:
    """Return a host that cuts its first answer once so many bytes came, and then answers well."""
    answers = iter([True])

    async def answer(request: web.Request) -> web.StreamResponse:
        if not next(answers, False):
            return await then(request)
        response = web.StreamResponse(
            headers={
                "Content-Type": "image/png",
                "Content-Length": str(len(BODY)),
                "ETag": '"v1"',
                **headers,
            }
        )
        await response.prepare(request)
        await response.write(BODY[:size])
        await host.wait_until_held(size)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


@asynccontextmanager
async def raw_host(answer: bytes) -> AsyncIterator[str]:
    """Give the address of a host that sends these very bytes and closes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


def told(downloads):
    """Return what became of each file."""
    return [(one.outcome, one.reason) for one in downloads]


def names(folder):
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
