"""
Genuine deliveries at a steady pace, and what became of each: the debts of a receiver.

Signed just before they are sent, as fal does. A delivery that is not answered 200 is signed
anew and sent again; some are sent twice although they were.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from consumer.simulator import SigningKey, completion_body
from consumer.testing.receiving import as_request, status_of

_SIGNATURE = "X-Fal-Webhook-Signature"
_MAX_AT_ONCE = 512
_MAX_ATTEMPTS = 4
_AGAIN_AFTER_S = 1.0
_ANSWER_WITHIN_S = 15.0
# fal waits so long for an answer. Source: fal docs, "Webhooks", read 2026-09-27.
NO_ANSWER = 0


def mark_of(request_id: str, signature: str, body: bytes) -> bytes:
    """Return what only a byte for byte equal delivery shares."""
    parts = (request_id.encode(), signature.encode(), sha256(body).digest())
    return sha256(b"\n".join(parts)).digest()


@dataclass(frozen=True)
class Mix:
    """
    What the deliveries are like; shares are of all of them.

    A body has about `bytes_each` bytes, a `large` one up to `large_bytes`. A `copied` one is
    sent again as it was, a `resent` one signed anew.
    """

    bytes_each: int = 1000
    large: float = 0.01
    large_bytes: int = 100_000
    failed: float = 0.05
    copied: float = 0.03
    resent: float = 0.03


@dataclass
class Posted:
    """
    What was posted and what came of it.

    `ends` names the end of each request that was posted, `debts` the deliveries that were
    answered 200 by their mark, `kept` the requests those belong to. `took_ms` holds when
    each answered attempt began (monotonic seconds), how long it took, and its status.
    """

    ends: dict[str, str] = field(default_factory=dict)
    debts: set[bytes] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    took_ms: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def deliveries(self) -> int:
        """How many deliveries were posted, each attempt counted."""
        return self.answers.total()

    def p_ms(self, share: float, *, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the time below which this share of the 200s was answered; 0 for none."""
        took = sorted(
            ms for at, ms, status in self.took_ms if status == 200 and since <= at < until
        )
        return took[min(int(len(took) * share), len(took) - 1)] if took else 0.0


class Load:
    """Posts deliveries to one URL, whose answers it remembers in `posted`."""

    def __init__(
        self, port: Callable[[], int], key: SigningKey, account: str, *, seed: int, mix: Mix
    ) -> None:
        self.posted = Posted()
        self._connections = Connections(port)
        self._key = key
        self._account = account
        self._random = random.Random(seed)
        self._mix = mix
        self._filler = self._random.randbytes(mix.large_bytes).hex()
        self._recent: deque[tuple[str, bytes, Mapping[str, str]]] = deque(maxlen=512)
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    async def run(self, rate: Callable[[], float], until: Callable[[], bool]) -> None:
        """Post so many deliveries a second, whatever the answers take, until told; then wait."""
        begins = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while not until():
                for request_id, body, headers in self._next():
                    await self._at_once.acquire()
                    tasks.create_task(self._settle(request_id, body, headers))
                    begins = max(begins + 1 / rate(), time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, begins - time.monotonic()))
        self._connections.close()

    async def run_fast(self, count: int, *, callers: int) -> None:
        """Post so many deliveries as fast as that many callers get their answers."""
        left = iter(range(count))

        async def call() -> None:
            for _ in left:
                for request_id, body, headers in self._next():
                    await self._at_once.acquire()
                    await self._settle(request_id, body, headers)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call())
        self._connections.close()

    async def post_one(self) -> int:
        """Post one delivery, once, and return its status, or NO_ANSWER."""
        request_id, body = self._new()
        return await self._post(request_id, body, self._signed(request_id, body))

    def _next(self) -> Iterator[tuple[str, bytes, Mapping[str, str]]]:
        """Give a new delivery, and sometimes an older one again."""
        request_id, body = self._new()
        headers = self._signed(request_id, body)
        yield request_id, body, headers
        drawn = self._random.random()
        if not self._recent or drawn >= self._mix.copied + self._mix.resent:
            return
        older_id, older_body, older_headers = self._random.choice(self._recent)
        if drawn >= self._mix.copied:
            older_headers = self._signed(older_id, older_body)
        yield older_id, older_body, older_headers

    def _new(self) -> tuple[str, bytes]:
        request_id = str(UUID(int=self._random.getrandbits(128)))
        size = self._mix.bytes_each
        if self._random.random() < self._mix.large:
            size = self._random.randint(size, self._mix.large_bytes)
        begin = self._random.randrange(len(self._filler) - size)
        payload = {
            "seed": self._random.getrandbits(64),
            "text": self._filler[begin : begin + max(0, size - 250)],
        }
        has_failed = self._random.random() < self._mix.failed
        self.posted.ends[request_id] = "failed" if has_failed else "succeeded"
        error = "Unexpected status code: 422" if has_failed else None
        return request_id, completion_body(request_id, payload, error)

    def _signed(self, request_id: str, body: bytes) -> Mapping[str, str]:
        return self._key.sign_headers(request_id, self._account, int(time.time()), body)

    async def _settle(self, request_id: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post until it is answered 200, a few times at most. Gives its permit back."""
        try:
            for attempt in range(1, _MAX_ATTEMPTS + 1):
                if await self._post(request_id, body, headers) == 200:
                    self._recent.append((request_id, body, headers))
                    return
                if attempt < _MAX_ATTEMPTS:
                    await asyncio.sleep(_AGAIN_AFTER_S * attempt)
                    headers = self._signed(request_id, body)
        finally:
            self._at_once.release()

    async def _post(self, request_id: str, body: bytes, headers: Mapping[str, str]) -> int:
        began = time.monotonic()
        status = await self._connections.post(as_request(body, headers, closes=False))
        self.posted.took_ms.append((began, (time.monotonic() - began) * 1e3, status))
        self.posted.answers[status] += 1
        if status == 200:
            self.posted.debts.add(mark_of(request_id, headers[_SIGNATURE], body))
            self.posted.kept.add(request_id)
        return status


class Connections:
    """Connections to one address that are kept alive, and forgotten where they broke."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def post(self, raw: bytes) -> int:
        """Send a whole request and return the status of its answer, or NO_ANSWER."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                return await self._exchange(raw)
        except (OSError, EOFError, TimeoutError):
            return NO_ANSWER

    def close(self) -> None:
        """Close all connections that are idle."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _exchange(self, raw: bytes) -> int:
        reader, writer = await self._connection()
        is_whole = False
        try:
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length: 0\r\n" not in head.lower():
                raise EOFError("an answer with a body")
            is_whole = b"connection: close" not in head.lower()
            return status_of(head)
        finally:
            if is_whole:
                self._idle.append((reader, writer))
            else:
                writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port())
