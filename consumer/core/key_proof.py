"""
A published key set: the document whole, with our proof that one of us fetched it.

Workers trust key sets that they fetched and those that carry this proof, so that they
can verify what an earlier key signed.
"""

from collections.abc import Sequence

from consumer.core.event import Event, EventType, event_id, format_time
from consumer.core.fact import Fact, FactName, Witness, fact_event
from consumer.core.keys import KeySet
from consumer.core.token import sign_key_set

PROOF_ATTRIBUTE = "falproof"


def key_set_event(key_set: KeySet, *, source: str, secrets: Sequence[bytes]) -> Event:
    """Return the fact event that publishes a key set on `fal.lifecycle`, keyed by its hash."""
    sha256 = key_set.sha256
    fetched_at = format_time(key_set.fetched_at)
    fact = Fact(
        FactName.KEY_SET_FETCHED,
        Witness.RECEIVER,
        key_set.fetched_at,
        event_id("keyset", key_set.url, sha256, fetched_at),
        detail={
            "sha256": sha256,
            "url": key_set.url,
            "fetched_at": fetched_at,
            "document": key_set.document.decode("utf-8", "replace"),
        },
    )
    event = fact_event(fact, source)
    return Event(
        EventType.FACT,
        event.id,
        source,
        sha256,
        event.time,
        event.data,
        {PROOF_ATTRIBUTE: sign_key_set(sha256, secrets)},
    )
