"""
The files that outputs name, served where the simulator is told to: small pictures of noise.

The same name gives the same picture. Ranges and versions are answered as fal's own host
does, so that a download that was cut can go on.
"""

import struct
import zlib
from random import Random

from aiohttp import hdrs, web

FILES_PATH = "/files/b/{folder}/{name}"
_SIDE = 128  # pixels; noise does not shrink, so a picture has about 48 KiB


async def serve_file(request: web.Request) -> web.Response:
    """Answer with the picture of this name, or with the rest of it that was asked for."""
    name = f"{request.match_info['folder']}/{request.match_info['name']}"
    picture = _picture(name)
    version = f'"{zlib.crc32(picture):08x}"'
    headers = {hdrs.CONTENT_TYPE: "image/png", hdrs.ETAG: version, hdrs.ACCEPT_RANGES: "bytes"}
    asked = _range(request)
    is_same = request.headers.get(hdrs.IF_RANGE, version) == version
    if asked is None or not is_same:
        return web.Response(body=picture, headers=headers)
    start, stop, _ = asked.indices(len(picture))
    if start >= stop:
        headers[hdrs.CONTENT_RANGE] = f"bytes */{len(picture)}"
        return web.Response(status=416, headers=headers)
    headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{len(picture)}"
    return web.Response(status=206, body=picture[start:stop], headers=headers)


def _range(request: web.Request) -> slice | None:
    """Return which bytes were asked for, None for all: also where the range cannot be read."""
    try:
        return request.http_range if hdrs.RANGE in request.headers else None
    except ValueError:
        return None


def _picture(name: str) -> bytes:
    """Return a PNG of noise. Source of the form: the PNG specification, third edition."""
    noise = Random(name)
    rows = b"".join(b"\0" + noise.randbytes(3 * _SIDE) for _ in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check
