"""
What a kill left between a claim and its publication.

Result claims hold their event: it is published. Submission claims without an answer past
their deadline are `unknown`, and after the horizon `lost: never_confirmed`; nothing is
ever sent again.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from consumer.core.policy import Policies
from consumer.core.result import Correlation
from consumer.core.standing import Submission, SubmissionState
from consumer.errors import ConsumerError, Unavailable
from consumer.handlers.results import Results
from consumer.handlers.submitting import Submitter
from consumer.ports import Claim, ClaimKind, Clock, Ledger
from consumer.telemetry import Metrics, get_logger

_log = get_logger()

BATCH = 100


class PublishClaims:
    """
    One round over claims that hold an unpublished event, and over submissions without an answer.
    """

    def __init__(  # noqa: PLR0913  the sweep joins these parts
        self,
        results: Results,
        submitter: Submitter | None,
        ledger: Ledger,
        *,
        policies: Policies,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._results = results
        self._submitter = submitter
        self._ledger = ledger
        self._policies = policies
        self._clock = clock
        self._metrics = metrics

    async def round(self) -> int:
        """Publish what waits, and give up what is past its horizon. Raises Unavailable."""
        results = await self._ledger.open_claims(ClaimKind.RESULT, BATCH)
        overdue = _overdue(results, self._clock())
        done = [await self._tried(self._results.publish_claim, claim) for claim in overdue]
        if self._submitter is None:
            return sum(done)
        claims = await self._ledger.open_claims(ClaimKind.SUBMISSION, BATCH)
        submitter = self._submitter
        for claim in _overdue(claims, self._clock()):
            step = submitter.publish if claim.event is not None else submitter.give_up
            done.append(await self._tried(step, claim))
        await self._give_up_unconfirmed(submitter)
        return sum(done)

    async def _tried(self, step: Callable[[Claim], Awaitable[None]], claim: Claim) -> bool:
        """Take one step; one claim that cannot be published must not hold up the others."""
        try:
            await step(claim)
        except Unavailable:
            raise
        except ConsumerError as exc:
            _log.error("sweep.failed", sweep="claims", error=exc.code, request_id=claim.key)
            return False
        return True

    async def _give_up_unconfirmed(self, submitter: Submitter) -> None:
        horizon = self._clock() - self._policies.unconfirmed_horizon
        unknown = (SubmissionState.UNKNOWN,)
        for submission in await self._ledger.submissions(states=unknown, limit=BATCH):
            if submission.first_at > horizon:
                continue
            _log.error("submission.lost", submission_id=submission.submission_id)
            self._metrics.requests_lost.labels("never_confirmed").inc()
            await submitter.publish_lost(submission.submission_id, _correlation(submission))


def _overdue(claims: Sequence[Claim], now: datetime) -> list[Claim]:
    """Return the claims whose holder should be done by now; he publishes the younger ones."""
    return [claim for claim in claims if claim.deadline_at <= now]


def _correlation(submission: Submission) -> Correlation:
    tags = tuple(sorted(submission.tags.items()))
    return Correlation(submission.submission_id, submission.command_id, submission.endpoint, tags)
