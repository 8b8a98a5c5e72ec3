"""A published key set carries its document whole, and the proof of who fetched it."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.core.event import Event, EventType, decode, encode
from consumer.core.key_proof import PROOF_ATTRIBUTE, key_set_event
from consumer.core.keys import KeySet
from consumer.core.projection import Entry, KeySetEntry, entry_of
from consumer.core.token import is_key_set_proof
from consumer.testing.keys import key_document, key_set
from tests.core.strategies import NOW

SECRET = b"s" * 32


def published(held: KeySet) -> Event:
    return key_set_event(held, source="https://k", secrets=[SECRET])


def test_published_key_set_is_read_back_whole(signer):
    """A published key set survives its record: document, address and fetch time."""
    held = key_set(signer, fetched_at=NOW)
    record = encode(published(held))

    event = decode(record.headers, record.value)

    assert entry_of(event) == Entry(
        event.id, key_set=KeySetEntry(held.sha256, held.url, NOW, key_document(signer))
    )


def test_published_key_set_is_proven(signer):
    """A published key set is keyed by its hash and proven under the first secret only."""
    held = key_set(signer, fetched_at=NOW)
    event = published(held)
    proof = event.extensions[PROOF_ATTRIBUTE]

    assert (event.type, event.subject, event.time) == (EventType.FACT, held.sha256, NOW)
    assert is_key_set_proof(proof, held.sha256, [b"n" * 32, SECRET])
    assert not is_key_set_proof(proof, held.sha256, [b"n" * 32])
    assert not is_key_set_proof(proof, "0" * 64, [SECRET])


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_equal_sets_have_equal_ids(one, other):
    """The same set fetched at the same time is the same event; any other document is another."""
    ids = [published(KeySet((), document, "https://k", NOW)).id for document in (one, other)]

    assert (ids[0] == ids[1]) == (one == other)
