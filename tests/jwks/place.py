"""A place that keys come from: what it answers, and what became of its news."""

import asyncio
from datetime import UTC, datetime

import pytest

from consumer.errors import KeysUnavailable
from consumer.jwks import JwksKeys, KeyParts, KeySource, KeyTimes
from consumer.jwks.fetch import Fetched
from consumer.telemetry import Metrics
from consumer.testing.receiving import Lines

URL = "https://keys.example/jwks.json"
OLD_URL = "https://old.example/jwks.json"
NOW = datetime(2026, 7, 16, 12, 0, tzinfo=UTC)
DEADLINE_S = 20


class Place:
    """A key endpoint that answers what it is told to, and counts."""

    def __init__(self):
        self.now = NOW
        self.answers = {}
        self.asked = []
        self.came = asyncio.Queue()
        self.told = []
        self.lines = Lines()
        self.server_time = None
        self.opens = asyncio.Event()
        self.opens.set()
        self.news = asyncio.Event()
        self.tell_error = None

    def clock(self):
        return self.now

    async def fetch(self, url):
        self.asked.append(url)
        self.came.put_nowait(url)
        await self.opens.wait()
        answer = self.answers.get(url, KeysUnavailable("told to"))
        if isinstance(answer, Exception):
            raise answer
        return Fetched(answer, self.server_time)

    async def on_new_set(self, held):
        if self.tell_error is not None:
            error, self.tell_error = self.tell_error, None
            raise error
        self.told.append(held.document)
        self.news.set()

    def keys(self, *, source=None, **times):
        parts = KeyParts(self.clock, Metrics(), self.lines, self.fetch, self.on_new_set)
        return JwksKeys(source or KeySource(URL), parts, KeyTimes(**times))


async def refused(keys):
    with pytest.raises(KeysUnavailable) as caught:
        await keys.current()
    return caught.value
