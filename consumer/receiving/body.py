"""
Reading a body: under a deadline, a limit of its own, and a limit on all bodies together.

Raw bytes only: nothing here inflates, decodes or parses, for the signature covers the
bytes as they came.
"""

import asyncio
from typing import cast

from aiohttp import web

from consumer.errors import DeliveryTooLarge, MalformedDelivery, Unavailable
from consumer.receiving.edge import Connection
from consumer.receiving.limits import ReceiverLimits


class Bodies:
    """Reads bodies and counts the bytes of those in memory, from the first chunk to `give_back`."""

    def __init__(self, limits: ReceiverLimits) -> None:
        self.taken_bytes = 0
        self._limits = limits
        self._deadline_s = limits.body_deadline.total_seconds()

    async def maybe_read(self, request: web.BaseRequest) -> bytes | None:
        """
        Return the body as received, or None when the sender left before it was whole.

        Its length counts as taken until `give_back(len(body))`.
        Raises DeliveryTooLarge (a declared length before anything is read), MalformedDelivery
        (bad chunking, or slower than the deadline) and Unavailable (all bodies together are
        over their limit); then nothing stays taken.
        """
        max_bytes = self._limits.max_body_bytes
        if (request.content_length or 0) > max_bytes:
            raise DeliveryTooLarge(max_bytes)
        stream = request.content
        if stream.is_eof() and stream.exception() is None:
            # The common case: the whole request came in one piece.
            body = stream.read_nowait()
            if len(body) > max_bytes:
                raise DeliveryTooLarge(max_bytes)
            self._take(len(body))
            return body
        return await self._read_slowly(request)

    def give_back(self, size: int) -> None:
        """Count `size` bytes as no longer in memory."""
        self.taken_bytes -= size

    def _take(self, size: int) -> None:
        if self.taken_bytes + size > self._limits.max_reading_bytes:
            raise Unavailable("too many bodies in hand")
        self.taken_bytes += size

    async def _read_slowly(self, request: web.BaseRequest) -> bytes | None:
        connection = cast(Connection, request.protocol)
        connection.wait_for_peer()
        _allow_to_go_on(request)
        chunks: list[bytes] = []
        is_whole = False
        try:
            async with asyncio.timeout(self._deadline_s):
                is_whole = await self._read_chunks(request, chunks)
        except TimeoutError as exc:
            raise MalformedDelivery("body", "slower than the deadline") from exc
        except web.RequestPayloadError as exc:
            raise MalformedDelivery("body", "bad transfer coding") from exc
        except ConnectionError:
            return None
        finally:
            connection.waiting_since = None
            if not is_whole:
                self.give_back(sum(map(len, chunks)))
        return b"".join(chunks) if is_whole else None

    async def _read_chunks(self, request: web.BaseRequest, chunks: list[bytes]) -> bool:
        """Read to the end; False when the sender left, which shows only between two reads."""
        stream, left_bytes = request.content, self._limits.max_body_bytes
        while not stream.at_eof():
            if request.transport is None:
                return False
            chunk = await stream.readany()
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise DeliveryTooLarge(self._limits.max_body_bytes)
            self._take(len(chunk))
            chunks.append(chunk)
        return True


def _allow_to_go_on(request: web.BaseRequest) -> None:
    """Tell a sender that asks first to send its body (RFC 9110, 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
