"""Judge webhook completions with the trusted key sets; an unknown key gets one refetch."""

from collections.abc import Sequence
from datetime import datetime

from consumer.core.event import Event
from consumer.core.judgement import Refuted, UnknownKey, Verdict, judge
from consumer.core.policy import DeadLetter, Outcome, Policies, RetryAt
from consumer.core.projection import Judgement
from consumer.ports import TrustedKeys


class Judge:
    """The second look at every webhook completion, before it becomes a fact, a call or a result."""

    def __init__(
        self, keys: TrustedKeys, *, accounts: frozenset[str], secrets: Sequence[bytes]
    ) -> None:
        self._keys = keys
        self._accounts = accounts
        self._secrets = tuple(secrets)

    async def judge(self, event: Event) -> Verdict:
        """Return the verdict. Raises UndecodableEvent and Unavailable."""
        verdict = await self._with_keys_at_hand(event)
        if isinstance(verdict, UnknownKey):
            await self._keys.refetch()
            verdict = await self._with_keys_at_hand(event)
        return verdict

    async def _with_keys_at_hand(self, event: Event) -> Verdict:
        key_sets = await self._keys.sets()
        return judge(event, key_sets, accounts=self._accounts, secrets=self._secrets)


def outcome_of_verdict(
    verdict: Verdict, event: Event, now: datetime, policies: Policies
) -> Outcome | None:
    """
    Return what becomes of a record that is not (yet) evidence, or None when it is.

    An unknown key may still be published: the record waits, at most 24 h from its own
    `ce_time`, and only then is a dead letter.
    """
    if isinstance(verdict, Judgement):
        return None
    if isinstance(verdict, Refuted):
        return DeadLetter(verdict.reason)
    if now - event.time >= policies.unverified_patience:
        return DeadLetter("unverified", "no trusted key set holds the key it names")
    return RetryAt(now + policies.max_retry_gap, "unknown_key")
