"""
What a recorded fact makes wanted: a cancelled group, a newer one in a series, a remembered cancel.

Called after each fact is durable in the projection, whose writes have one order. So of two
facts that concern each other (a member and the end of its group, an older and a newer one)
whoever is recorded second finds the first. A wish is a fact of its own, once for each
policy; the sweep `cancel` asks fal.
"""

from collections.abc import Mapping
from typing import Any

from consumer.core.fact import Fact, FactName, Witness, group_cancelled_id, new_fact
from consumer.core.lifecycle import is_bound
from consumer.core.projection import Entry
from consumer.core.standing import (
    SUBMISSION_ENDS,
    CancelPolicy,
    Request,
    Series,
    Submission,
)
from consumer.handlers.results import Facts
from consumer.ports import Clock, Ledger, Recorded, RequestFilter

PAGE = 200
_NAMING = frozenset({FactName.INTENDED, FactName.SENDING, FactName.SUBMITTED, FactName.TRACKED})
_LINKING = _NAMING | {FactName.CANCEL_REMEMBERED}


class Wishes:
    """Tells which requests and submissions are not wanted any more."""

    def __init__(self, ledger: Ledger, facts: Facts, *, clock: Clock) -> None:
        self._ledger = ledger
        self._facts = facts
        self._clock = clock

    async def follow(self, entry: Entry, recorded: Recorded) -> None:
        """Tell what follows from an entry that is recorded now. Raises Unavailable."""
        for fact in entry.facts:
            if fact.name is FactName.GROUP_CANCELLED:
                await self._cancel_group(str(fact.detail.get("group") or ""))
            if fact.name in _NAMING and fact.witness is not Witness.TOKEN:
                await self._on_named(fact, recorded)
            if fact.name in _LINKING and fact.submission_id:
                await self._on_linked(fact, recorded)

    async def reason_to_stop(self, submission_id: str, detail: Mapping[str, Any]) -> str:
        """
        Return the policy that wants a submission never sent, as far as is recorded, or none.

        `detail` is what is told of it: its group, its key and number.
        """
        held = await self._ledger.submission(submission_id)
        if held is not None and held.is_cancel_remembered:
            return held.cancel_policy or CancelPolicy.ASKED.value
        group, key = detail.get("group"), detail.get("supersedes")
        if group and await self._ledger.knows_fact(group_cancelled_id(group)):
            return CancelPolicy.GROUP.value
        if key and await self._ledger.outnumbering(Series(key=key, number=detail["number"])):
            return CancelPolicy.SUPERSEDED.value
        return ""

    # ------------------------------------------------------------ groups and series

    async def _cancel_group(self, group: str) -> None:
        if not group:
            return
        for submission in await self._ledger.unended(group):
            await self._want_submission(submission, CancelPolicy.GROUP, group)
        before = ""
        while True:
            wanted = RequestFilter(group=group, open_only=True, limit=PAGE, before=before)
            page = await self._ledger.requests(wanted)
            for request in page:
                await self._want_request(request, CancelPolicy.GROUP, group)
            if len(page) < PAGE:
                return
            before = page[-1].request_id

    async def _on_named(self, fact: Fact, recorded: Recorded) -> None:
        held = recorded.request if fact.request_id else recorded.submission
        if held is None:
            return
        if held.group and await self._ledger.knows_fact(group_cancelled_id(held.group)):
            await self._want(held, CancelPolicy.GROUP, held.group)
        if held.series is None:
            return
        if isinstance(held, Request):
            await self._supersede(held, held.series)
        newer = await self._ledger.outnumbering(held.series)
        if newer is not None:
            await self._want(held, CancelPolicy.SUPERSEDED, newer.request_id)

    async def _supersede(self, newer: Request, place: Series) -> None:
        """Let a request, which is at fal, take the place of all with a lower number."""
        while True:
            requests, submissions = await self._ledger.outnumbered(place, PAGE)
            for request in requests:
                await self._want_request(request, CancelPolicy.SUPERSEDED, newer.request_id)
            for submission in submissions:
                await self._want_submission(submission, CancelPolicy.SUPERSEDED, newer.request_id)
            lowest = [_number(page[-1]) for page in (requests, submissions) if len(page) == PAGE]
            if not lowest:
                return
            place = place.model_copy(update={"number": max(lowest)})

    # ------------------------------------------------------------ remembered cancels

    async def _on_linked(self, fact: Fact, recorded: Recorded) -> None:
        """Hand the remembered cancel of a submission on to its request, once both are known."""
        submission = recorded.submission
        if submission is None or submission.submission_id != fact.submission_id:
            return
        if not submission.is_cancel_remembered or submission.request is None:
            return
        request = await self._ledger.request(submission.request.value)
        if request is not None and is_bound(request, submission):
            policy = CancelPolicy(submission.cancel_policy or CancelPolicy.ASKED)
            await self._want_request(request, policy, submission.submission_id)

    # ------------------------------------------------------------ the wish

    async def _want(self, held: Request | Submission, policy: CancelPolicy, by: str) -> None:
        if isinstance(held, Request):
            await self._want_request(held, policy, by)
        else:
            await self._want_submission(held, policy, by)

    async def _want_request(self, request: Request, policy: CancelPolicy, by: str) -> None:
        told = {(note.name, note.policy) for note in request.cancels}
        if request.end is not None or (FactName.CANCEL_WANTED, policy.value) in told:
            return
        await self._facts.publish(
            new_fact(
                FactName.CANCEL_WANTED,
                Witness.SWEEP,
                self._clock(),
                request_id=request.request_id,
                detail={"policy": policy.value, "by": by},
            )
        )

    async def _want_submission(self, submission: Submission, policy: CancelPolicy, by: str) -> None:
        if submission.state in SUBMISSION_ENDS or submission.is_cancel_remembered:
            return
        await self._facts.publish(
            new_fact(
                FactName.CANCEL_REMEMBERED,
                Witness.SWEEP,
                self._clock(),
                submission_id=submission.submission_id,
                detail={"policy": policy.value, "by": by},
            )
        )


def _number(held: Request | Submission) -> int:
    return held.series.number if held.series else 0
