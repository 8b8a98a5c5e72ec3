"""
What a kill left between a claim and its publication.

Result claims hold their event: it is published. Submission claims without an answer past
their deadline are `unknown`, and after the horizon `lost: never_confirmed`; nothing is
ever sent again.
"""

from consumer.core.lifecycle import Submission, SubmissionState
from consumer.core.policy import Policies
from consumer.core.result import Correlation
from consumer.handlers.results import Results
from consumer.handlers.submitting import Submitter
from consumer.ports import ClaimKind, Clock, Ledger

BATCH = 100


class PublishClaims:
    """
    One round over claims that hold an unpublished event, and over submissions without an answer.
    """

    def __init__(
        self,
        results: Results,
        submitter: Submitter | None,
        ledger: Ledger,
        *,
        policies: Policies,
        clock: Clock,
    ) -> None:
        self._results = results
        self._submitter = submitter
        self._ledger = ledger
        self._policies = policies
        self._clock = clock

    async def round(self) -> int:
        """Publish what waits, and give up what is past its horizon. Raises Unavailable."""
        results = await self._ledger.open_claims(ClaimKind.RESULT, BATCH)
        for claim in results:
            await self._results.publish_claim(claim)
        if self._submitter is None:
            return len(results)
        claims = await self._ledger.open_claims(ClaimKind.SUBMISSION, BATCH)
        for claim in claims:
            if claim.event is not None:
                await self._submitter.publish(claim)
            else:
                await self._submitter.give_up(claim)
        await self._give_up_unconfirmed(self._submitter)
        return max(len(results), len(claims))

    async def _give_up_unconfirmed(self, submitter: Submitter) -> None:
        horizon = self._clock() - self._policies.unconfirmed_horizon
        unknown = (SubmissionState.UNKNOWN,)
        for submission in await self._ledger.submissions(states=unknown, limit=BATCH):
            if submission.first_at <= horizon:
                await submitter.publish_lost(submission.submission_id, _correlation(submission))


def _correlation(submission: Submission) -> Correlation:
    tags = tuple(sorted(submission.tags.items()))
    return Correlation(submission.submission_id, submission.command_id, submission.endpoint, tags)
