"""The copy of the key set on disk: what a restart may believe of it."""

from datetime import timedelta

import pytest

from consumer.jwks import KeySource
from consumer.testing.keys import Signer, key_document
from tests.jwks.place import NOW, OLD_URL, URL, refused


async def restarted(place, path, *, url=URL):
    place.answers.clear()
    place.opens.clear()
    return place.keys(source=KeySource(url, cache_path=path))


async def saved(place, path):
    place.answers[URL] = key_document(Signer("saved"))
    await place.keys(source=KeySource(URL, cache_path=path)).refresh()


async def test_the_last_good_set_survives_a_restart(place, tmp_path):
    """A restart while the endpoint is down judges with the set on disk, as old as it is."""
    await saved(place, tmp_path / "keys.json")
    place.now += timedelta(hours=23)

    async with await restarted(place, tmp_path / "keys.json") as keys:
        held = await keys.current()

    assert ("saved", NOW, URL) == (held.keys[0].kid, held.fetched_at, held.url)
    assert [tmp_path / "keys.json"] == list(tmp_path.iterdir())


async def test_a_set_on_disk_expires_like_any_other(place, tmp_path):
    """The age of a set on disk counts from its fetch."""
    await saved(place, tmp_path / "keys.json")
    place.now += timedelta(hours=25)

    async with await restarted(place, tmp_path / "keys.json") as keys:
        await refused(keys)


async def test_a_set_of_another_address_is_ignored(place, tmp_path):
    """A set on disk that came from another address than the configured one is no set."""
    await saved(place, tmp_path / "keys.json")

    async with await restarted(place, tmp_path / "keys.json", url=OLD_URL) as keys:
        await refused(keys)


async def test_a_set_from_the_future_is_ignored(place, tmp_path):
    """A set on disk with a time in the future is no set: its age would never show."""
    await saved(place, tmp_path / "keys.json")
    place.now -= timedelta(hours=1)

    async with await restarted(place, tmp_path / "keys.json") as keys:
        await refused(keys)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"url": 1}', b"x" * 1_000_000, b"[" * 90_000]
)
async def test_a_broken_file_is_ignored(place, tmp_path, content):
    """What cannot be read on disk is no set, and no error."""
    (tmp_path / "keys.json").write_bytes(content)

    async with await restarted(place, tmp_path / "keys.json") as keys:
        await refused(keys)


async def test_a_folder_that_cannot_be_written_costs_only_the_copy(place, tmp_path):
    """Where the set cannot be kept on disk it is in force all the same."""
    place.answers[URL] = key_document(Signer())
    keys = place.keys(source=KeySource(URL, cache_path=tmp_path / "absent" / "keys.json"))

    assert await keys.refresh()

    await keys.current()
