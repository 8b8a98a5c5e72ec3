"""The key set: when it is fetched, what is believed, and what a failure may not do."""

import asyncio
import json
from datetime import timedelta

import pytest

from consumer.errors import KeysUnavailable, LogUnavailable
from consumer.jwks import KeySource
from consumer.testing.keys import Signer, key_document
from tests.jwks.place import DEADLINE_S, NOW, OLD_URL, URL, refused


async def test_a_fetched_set_is_in_force(place):
    """After a good fetch the set is held, with its document, address and time."""
    signer = Signer()
    place.answers[URL] = key_document(signer)
    keys = place.keys()

    assert await keys.refresh()

    held = await keys.current()
    assert (key_document(signer), URL, NOW) == (held.document, held.url, held.fetched_at)
    assert [held] == await keys.sets()
    assert [] == keys.problems()


async def test_entering_does_not_wait_for_a_set(place):
    """While the endpoint does not answer the context is entered, and there are no keys."""
    place.opens.clear()

    async with asyncio.timeout(DEADLINE_S), place.keys() as keys:
        await refused(keys)
        assert ["no key set is held: not fetched yet"] == keys.problems()


async def test_a_failed_start_is_tried_again(place):
    """An endpoint that is down at start is asked again until it answers, with growing pauses."""
    moment = timedelta(milliseconds=5)

    async with (
        asyncio.timeout(DEADLINE_S),
        place.keys(first_retry=moment, max_retry=4 * moment) as keys,
    ):
        for _ in range(5):
            await place.came.get()
        await refused(keys)
        place.answers[URL] = key_document(Signer())
        await place.news.wait()
        assert [] == keys.problems()


async def test_a_failed_refresh_keeps_the_set(place):
    """A refresh that fails leaves the set in force, and says so."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    held = await keys.current()
    place.answers[URL] = KeysUnavailable("answered 500")

    assert not await keys.refresh()

    assert held is await keys.current()
    assert [] == keys.problems()
    assert "the last refresh failed: keys_unavailable: answered 500" in keys.describes()


async def test_past_the_hard_expiry_nothing_is_judged(place):
    """A set is used for 24 h after its fetch, the edge included, and not longer."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()

    place.now = NOW + timedelta(hours=24)
    await keys.current()
    place.now += timedelta(seconds=1)

    await refused(keys)
    assert 1 == len(keys.problems())


async def test_a_set_is_refreshed_in_the_background(place):
    """After the soft expiry the set is fetched again, without a delivery asking for it."""
    first, second = Signer("first"), Signer("second")
    place.answers[URL] = key_document(first)

    async with (
        asyncio.timeout(DEADLINE_S),
        place.keys(soft_expiry=timedelta(milliseconds=5)) as keys,
    ):
        await place.news.wait()
        place.news.clear()
        place.answers[URL] = key_document(second)
        await place.news.wait()
        assert ["second"] == [key.kid for key in (await keys.current()).keys]
        assert ["second", "first"] == [one.keys[0].kid for one in await keys.sets()]


async def test_when_no_key_matches_the_set_is_fetched_once(place):
    """Deliveries that no key verifies share one fetch, and all judge with what it brought."""
    place.answers[URL] = key_document(Signer("old"))
    keys = place.keys()
    await keys.refresh()
    tried = await keys.current()
    place.answers[URL] = key_document(Signer("new"))

    fresh = await asyncio.gather(*(keys.refetched(tried) for _ in range(16)))

    assert [URL, URL] == place.asked
    assert {"new"} == {one.keys[0].kid for one in fresh}


async def test_a_refetch_that_brings_the_same_keys_returns_what_was_tried(place):
    """Where the keys are still the same there is nothing to judge again."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    tried = await keys.current()

    assert tried is await keys.refetched(tried)


async def test_a_refetch_happens_at_most_once_a_minute(place):
    """Forged deliveries make one fetch a minute, failed tries included."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    tried = await keys.current()
    place.answers[URL] = KeysUnavailable("told to")
    asked = []

    for later_s in (0, 1, 59, 60, 61, 119, 120):
        place.now = NOW + timedelta(seconds=later_s)
        await keys.refetched(tried)
        asked.append(len(place.asked) - 1)

    assert [1, 1, 1, 2, 2, 2, 3] == asked


async def test_a_newer_set_needs_no_refetch(place):
    """A delivery judged with an older set gets the one at hand, without a fetch."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    tried = await keys.current()
    place.answers[URL] = key_document(Signer("new"))
    await keys.refresh()

    fresh = await keys.refetched(tried)

    assert ("new", 2) == (fresh.keys[0].kid, len(place.asked))


async def test_only_so_many_wait_for_a_refetch(place):
    """Sixteen deliveries wait for a refetch; the seventeenth is judged with the keys at hand."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    tried = await keys.current()
    place.opens.clear()

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(keys.refetched(tried)) for _ in range(16)]
        for _ in range(2):
            await place.came.get()
        assert tried is await keys.refetched(tried)
        assert not any(task.done() for task in waiting)
        place.opens.set()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>down for maintenance</html>",
        b"[]",
        b"null",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}',
        b"[" * 100_000,
        json.dumps({"keys": [Signer(str(n)).jwk for n in range(17)]}).encode(),
        key_document(Signer())[:-20],
    ],
)
async def test_a_document_without_a_usable_set_is_a_failed_refresh(place, document):
    """HTML, an empty set, a wrong curve, a cut, too many keys: the set at hand stays."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys()
    await keys.refresh()
    held = await keys.current()
    place.answers[URL] = document

    assert not await keys.refresh()

    assert held is await keys.current()


async def test_a_duplicate_kid_keeps_both_keys(place):
    """Two keys under one name are both tried: the name is only for people."""
    place.answers[URL] = key_document(Signer("same"), Signer("same"))
    keys = place.keys()

    await keys.refresh()

    assert 2 == len((await keys.current()).keys)


# ---------------------------------------------------------------- the old address


async def test_the_old_address_is_asked_only_without_a_set(place):
    """The fallback is asked when the new address fails and no usable set is held."""
    place.answers[OLD_URL] = key_document(Signer())
    keys = place.keys(source=KeySource(URL, fallback_url=OLD_URL))

    assert await keys.refresh()
    assert not await keys.refresh()

    assert [URL, OLD_URL, URL] == place.asked
    assert OLD_URL == (await keys.current()).url
    assert f"keys come from the older address {OLD_URL}" in keys.describes()


async def test_an_unofficial_address_is_shown(place):
    """Keys from an address that is not fal's are said to be so, at start and in readiness."""
    place.answers[URL] = key_document(Signer())

    async with (
        asyncio.timeout(DEADLINE_S),
        place.keys(source=KeySource(URL, is_official=False)) as keys,
    ):
        await place.news.wait()
        assert f"keys come from {URL}, which is not fal's address" in keys.describes()

    assert ("warning", "keys.unofficial", {"url": URL}) in place.lines.told


# ---------------------------------------------------------------- news


async def test_a_set_is_told_when_it_changes_and_once_a_day(place):
    """A refresh with the same document is no news; another document, or a day, is."""
    first, second = key_document(Signer("first")), key_document(Signer("second"))
    place.answers[URL] = first

    async with asyncio.timeout(DEADLINE_S), place.keys() as keys:
        await place.news.wait()
        await keys.refresh()
        place.answers[URL] = second
        place.news.clear()
        await keys.refresh()
        await place.news.wait()
        place.now += timedelta(hours=24)
        place.news.clear()
        await keys.refresh()
        await place.news.wait()

    assert [first, second, second] == place.told


async def test_news_that_nobody_took_is_told_again(place):
    """When the log does not take the news it is told later."""
    place.tell_error = LogUnavailable("told to")
    place.answers[URL] = key_document(Signer())

    async with (
        asyncio.timeout(DEADLINE_S),
        place.keys(max_retry=timedelta(milliseconds=5)),
    ):
        await place.news.wait()


# ---------------------------------------------------------------- the clock


@pytest.mark.parametrize("off_s, count", [(0, 0), (60, 0), (-60, 0), (61, 1), (-61, 1)])
async def test_a_wrong_clock_is_a_problem(place, off_s, count):
    """A clock more than 60 s away from the endpoint's is told, and fails readiness."""
    place.server_time = NOW - timedelta(seconds=off_s)
    place.answers[URL] = key_document(Signer())
    keys = place.keys()

    await keys.refresh()

    assert timedelta(seconds=off_s) == keys.clock_error
    assert count == len(keys.problems())
    assert count == [event for _, event, _ in place.lines.told].count("clock.wrong")
