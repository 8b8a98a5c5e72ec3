"""
fal's key set, held and kept fresh: the port `Keys`, and this process's part of `TrustedKeys`.

A failed refresh never makes things worse: the set at hand stays until its hard expiry,
and past that nothing is verified. Deliveries never wait for a fetch but when no key
matches, and then few of them, at most once a minute.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import nan
from pathlib import Path
from typing import Self

from consumer.core.keys import KeySet, parse_keys
from consumer.errors import BadKeySet, KeysUnavailable, RecordRefused, Unavailable
from consumer.jwks.clock import ClockCheck
from consumer.jwks.fetch import Fetch, fetch_document
from consumer.jwks.store import maybe_load_key_set, save_key_set
from consumer.ports import Clock
from consumer.telemetry import Logger, Metrics

_MAX_SETS = 64
# Distinct sets remembered. A process that saw more has been running for years, or is attacked.


@dataclass(frozen=True, slots=True)
class KeySource:
    """
    Where the keys come from. `fallback_url` is asked only while no set within hard expiry is held.

    `cache_path` is where the last good set rests; None keeps none.
    """

    url: str
    is_official: bool = True
    fallback_url: str | None = None
    cache_path: Path | None = None


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """
    When to fetch.

    Source of `hard_expiry`: fal docs, "Webhooks", cache the keys for at most 24 h
    (captures up to 2026-09).
    """

    soft_expiry: timedelta = timedelta(hours=1)
    hard_expiry: timedelta = timedelta(hours=24)
    refetch_gap: timedelta = timedelta(minutes=1)
    first_retry: timedelta = timedelta(seconds=1)
    max_retry: timedelta = timedelta(minutes=1)
    republish_after: timedelta = timedelta(hours=24)
    max_waiters: int = 16


async def _tell_nobody(_: KeySet) -> None:
    """Take news of a set and do nothing."""


@dataclass(frozen=True, slots=True)
class KeyParts:
    """
    What the keys stand on. `on_new_set` hears of each set that was fetched and is news,
    and of the one in force once a day; an Unavailable from it is tried again.
    """

    clock: Clock
    metrics: Metrics
    logger: Logger
    fetch: Fetch = fetch_document
    on_new_set: Callable[[KeySet], Awaitable[None]] = _tell_nobody


class JwksKeys:
    """
    The key set in force. `async with` fetches in the background until the context ends.

    Entering does not wait for a set: until there is one, `current` raises.
    """

    def __init__(self, source: KeySource, parts: KeyParts, times: KeyTimes | None = None) -> None:
        self._source = source
        self._parts = parts
        self._times = times or KeyTimes()
        self._held: KeySet | None = None
        self._fetched: dict[str, KeySet] = {}
        self._refetched_at: datetime | None = None
        self._flight: asyncio.Lock = asyncio.Lock()
        self._waiters = 0
        self._failure = ""
        self._news = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._upkeep: list[asyncio.Task[None]] = []
        self._clock_check = ClockCheck(parts.clock, parts.logger)

    async def __aenter__(self) -> Self:
        """Take the set on disk, if it is good, and begin to fetch."""
        if self._source.cache_path is not None:
            held = await asyncio.to_thread(
                maybe_load_key_set,
                self._source.cache_path,
                urls=sorted(self.urls),
                now=self._parts.clock(),
            )
            self._hold(held)
        await self._tasks.__aenter__()
        for loop in (self._keep_fresh(), self._tell_news()):
            self._upkeep.append(self._tasks.create_task(loop))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop fetching."""
        for task in self._upkeep:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    # ---------------------------------------------------------------- the ports

    async def current(self) -> KeySet:
        """Return the set to judge with. Raises KeysUnavailable without one, or past hard expiry."""
        held = self._held
        if held is None:
            raise KeysUnavailable(self._failure or "no key set fetched yet")
        if self._parts.clock() - held.fetched_at > self._times.hard_expiry:
            raise KeysUnavailable("the key set at hand is past its hard expiry")
        return held

    async def refetched(self, tried: KeySet) -> KeySet:
        """
        Return the set to judge a delivery with that no key of `tried` verified.

        Newer than `tried` when there is one, or one can be fetched now: single flight, at
        most once a minute, failed tries count. `tried` itself when its keys are still the
        keys, or too many wait already. Raises KeysUnavailable past the hard expiry.
        """
        if not self._has_news(tried) and self._waiters < self._times.max_waiters:
            self._waiters += 1
            try:
                await self._refetch(tried)
            finally:
                self._waiters -= 1
        held = await self.current()
        return tried if held.keys == tried.keys else held

    async def sets(self) -> Sequence[KeySet]:
        """Return every set held in this process, the newest first."""
        return list(reversed(self._fetched.values()))

    async def refetch(self) -> None:
        """Fetch once more, within the limits of `refetched`."""
        await self._refetch(self._held)

    # ---------------------------------------------------------------- readiness

    def age_s(self) -> float:
        """Return the age of the key set at hand in seconds, NaN while there is none."""
        if self._held is None:
            return nan
        return (self._parts.clock() - self._held.fetched_at).total_seconds()

    def problems(self) -> list[str]:
        """Return what keeps deliveries from being judged well, one sentence each."""
        now, found = self._parts.clock(), []
        held = self._held
        if held is None:
            found.append(f"no key set is held: {self._failure or 'not fetched yet'}")
        elif now - held.fetched_at > self._times.hard_expiry:
            found.append(f"the key set is past its hard expiry: {self._failure}")
        return [*found, *self._clock_check.problems()]

    @property
    def clock_error(self) -> timedelta | None:
        """How far our clock is ahead of the key server's, as last measured."""
        return self._clock_check.error

    def describes(self) -> list[str]:
        """Return what an operator should see although it is no problem, one sentence each."""
        held, said = self._held, []
        if not self._source.is_official:
            said.append(f"keys come from {self._source.url}, which is not fal's address")
        if held is not None:
            age_s = round((self._parts.clock() - held.fetched_at).total_seconds())
            said.append(f"{len(held.keys)} keys, fetched {age_s} s ago")
            if held.url != self._source.url:
                said.append(f"keys come from the older address {held.url}")
            if self._failure:
                said.append(f"the last refresh failed: {self._failure}")
        return said

    # ---------------------------------------------------------------- fetching

    async def refresh(self) -> bool:
        """
        Fetch now; False when no good set came, and nothing changed.

        Concurrent calls follow one another.
        """
        async with self._flight:
            return await self._refresh()

    async def _keep_fresh(self) -> None:
        if not self._source.is_official:
            self._parts.logger.warning("keys.unofficial", url=self._source.url)
        retry = self._times.first_retry
        while True:
            if await self.refresh():
                retry, pause = self._times.first_retry, self._times.soft_expiry
            else:
                pause, retry = retry, min(retry * 2, self._times.max_retry)
            await asyncio.sleep(pause.total_seconds())

    async def _refetch(self, tried: KeySet | None) -> None:
        async with self._flight:
            now, last = self._parts.clock(), self._refetched_at
            if self._has_news(tried):
                return
            if last is not None and abs(now - last) < self._times.refetch_gap:
                return
            self._refetched_at = now
            await self._refresh()

    async def _refresh(self) -> bool:
        fetched = await self._maybe_fetch(self._source.url)
        if fetched is None and self._source.fallback_url and not self._is_usable():
            fetched = await self._maybe_fetch(self._source.fallback_url)
        if fetched is None:
            return False
        self._hold(fetched)
        self._parts.logger.info("keys.refreshed", keys=len(fetched.keys), url=fetched.url)
        await self._keep(fetched)
        self._news.set()
        return True

    async def _maybe_fetch(self, url: str) -> KeySet | None:
        try:
            fetched = await self._parts.fetch(url)
            keys = parse_keys(fetched.document)
        except (Unavailable, BadKeySet) as exc:
            self._failure = str(exc)
            self._parts.metrics.key_fetches.labels("failed").inc()
            self._parts.logger.warning("keys.refresh_failed", url=url, error=str(exc))
            return None
        self._failure = ""
        self._parts.metrics.key_fetches.labels("fetched").inc()
        now = self._parts.clock()
        self._clock_check.compare(fetched.server_time)
        return KeySet(keys, fetched.document, url, now)

    def _hold(self, held: KeySet | None) -> None:
        if held is None:
            return
        same = self._held
        if same is not None and same.keys == held.keys:
            # The same verifiers: whoever judges with them need not notice.
            held = replace(held, keys=same.keys)
        self._held = held
        self._fetched.pop(held.sha256, None)
        self._fetched[held.sha256] = held
        while len(self._fetched) > _MAX_SETS:
            del self._fetched[next(iter(self._fetched))]

    async def _keep(self, held: KeySet) -> None:
        if self._source.cache_path is None:
            return
        try:
            await asyncio.to_thread(save_key_set, self._source.cache_path, held)
        except OSError as exc:
            self._parts.logger.warning(
                "keys.refresh_failed", url=held.url, error=f"not kept on disk: {exc.strerror}"
            )

    async def _tell_news(self) -> None:
        """Hand each set that is news to `on_new_set`, away from the deliveries that wait for it."""
        told: tuple[str, datetime] | None = None
        while True:
            await self._news.wait()
            self._news.clear()
            held, now = self._held, self._parts.clock()
            if held is None or not self._is_news(held, told, now):
                continue
            try:
                await self._parts.on_new_set(held)
            except (Unavailable, RecordRefused):
                await asyncio.sleep(self._times.max_retry.total_seconds())
                self._news.set()
            else:
                told = (held.sha256, now)

    def _is_news(self, held: KeySet, told: tuple[str, datetime] | None, now: datetime) -> bool:
        if told is None or told[0] != held.sha256:
            return True
        return abs(now - told[1]) >= self._times.republish_after

    def _has_news(self, tried: KeySet | None) -> bool:
        """Tell whether the keys at hand are others than those that were tried."""
        held = self._held
        return held is not None and (tried is None or held.keys != tried.keys)

    def _is_usable(self) -> bool:
        held = self._held
        if held is None:
            return False
        return self._parts.clock() - held.fetched_at <= self._times.hard_expiry

    @property
    def urls(self) -> frozenset[str]:
        """The addresses that a set may come from: the configured one and its fallback."""
        return frozenset(url for url in (self._source.url, self._source.fallback_url) if url)
