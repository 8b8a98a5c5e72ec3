"""The key sets that the worker trusts: what it fetched, and what the ledger holds proven."""

from datetime import UTC, datetime, timedelta

import pytest

from consumer.core.projection import Entry, KeySetEntry
from consumer.errors import LedgerUnavailable
from consumer.ports import Plan
from consumer.testing.keys import FakeKeys, Signer, key_set
from consumer.testing.ledger import MemoryLedger
from consumer.trust import TrustedKeySets

T0 = datetime(2026, 10, 1, 12, tzinfo=UTC)
URL = "https://keys.example/.well-known/jwks.json"
OLD, CURRENT, NEW = Signer("old"), Signer("current"), Signer("new")


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(plan=lambda _request, _now: Plan(), clock=lambda: T0)


async def prove(ledger: MemoryLedger, *signers: Signer, url: str = URL, days: int = 0) -> None:
    """Let the ledger hold a set that `record` found proven."""
    held = key_set(*signers, url=url, fetched_at=T0 + timedelta(days=days))
    entry = KeySetEntry(held.sha256, url, held.fetched_at, held.document)
    await ledger.record(Entry(f"set/{held.sha256}/{url}", key_set=entry))


async def kids(trusted: TrustedKeySets) -> list[list[str]]:
    return [[key.kid for key in held.keys] for held in await trusted.sets()]


async def test_proven_and_fetched_sets_are_trusted_newest_first(ledger):
    """What was fetched here and what the ledger holds proven is trusted, the newest first."""
    await prove(ledger, OLD, days=-400)
    await prove(ledger, NEW, days=1)

    trusted = TrustedKeySets(FakeKeys(CURRENT), ledger, urls=frozenset({URL}))

    assert [["new"], ["current"], ["old"]] == await kids(trusted)


async def test_a_set_from_another_address_is_not_trusted(ledger):
    """A set that was fetched from another address is left alone."""
    await prove(ledger, OLD, url="https://evil.example/jwks.json")

    trusted = TrustedKeySets(FakeKeys(CURRENT), ledger, urls=frozenset({URL}))

    assert [["current"]] == await kids(trusted)


async def test_what_was_proven_stands_without_keys(ledger):
    """Where no key set is in force, proven sets still judge evidence."""
    await prove(ledger, OLD)

    trusted = TrustedKeySets(FakeKeys(), ledger, urls=frozenset({URL}))
    await trusted.refetch()

    assert [["old"]] == await kids(trusted)


async def test_a_set_that_was_in_force_stays_trusted(ledger):
    """A rotation here does not make evidence under the earlier key worthless."""
    keys = FakeKeys(OLD)
    trusted = TrustedKeySets(keys, ledger, urls=frozenset({URL}))
    await trusted.sets()

    keys.publish(NEW)
    await trusted.refetch()

    assert [["new"], ["old"]] == sorted(await kids(trusted))


async def test_a_refetch_looks_in_the_ledger_and_at_fal(ledger):
    """A refetch finds what was proven, and what fal published, since the first look."""
    keys = FakeKeys(CURRENT)
    trusted = TrustedKeySets(keys, ledger, urls=frozenset({URL}))
    before = await kids(trusted)
    await prove(ledger, OLD, days=-1)
    keys.publish(NEW)
    unnoticed = await kids(trusted)

    await trusted.refetch()

    assert ([["current"]], [["current"]]) == (before, unnoticed)
    assert [["current"], ["new"], ["old"]] == sorted(await kids(trusted))
    assert 1 == keys.fetches


async def test_a_document_that_is_no_key_set_is_left_out(ledger):
    """A document in the ledger from which no key can be made is passed over."""
    entry = KeySetEntry("0" * 64, URL, T0, b"no json")
    await ledger.record(Entry("set", key_set=entry))

    trusted = TrustedKeySets(FakeKeys(CURRENT), ledger, urls=frozenset({URL}))

    assert [["current"]] == await kids(trusted)


async def test_only_the_first_look_needs_the_ledger(ledger):
    """A ledger that is away is an error at the first look, and no longer once it was read."""
    await prove(ledger, OLD, days=-1)
    trusted = TrustedKeySets(FakeKeys(CURRENT), ledger, urls=frozenset({URL}))
    ledger.refuse_next(LedgerUnavailable("away"))
    with pytest.raises(LedgerUnavailable):
        await trusted.sets()
    first = await kids(trusted)

    ledger.refuse_next(LedgerUnavailable("away"))

    assert [["old"], ["current"]] == first
    assert first == await kids(trusted)
