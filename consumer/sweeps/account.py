"""
What fal itself says was run with our key: the account's listing, held against the ledger.

It finds requests that nobody registered, ends that nobody heard of, the endpoint of requests
known by their webhook alone, and the request of an unknown submission, where that is certain.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from consumer.core.fact import FactName, Witness, new_fact
from consumer.core.listing import CLOCKS_DIFFER, Listed, is_news, matches
from consumer.core.standing import Submission, SubmissionState
from consumer.errors import FalRefused
from consumer.handlers.results import Facts
from consumer.handlers.submission_facts import shown
from consumer.ports import ClaimKind, Clock, FalListing, Ledger, RequestFilter
from consumer.telemetry import get_logger

_log = get_logger()

BATCH = 1
EVERY = timedelta(minutes=5)
_OVERLAP = timedelta(minutes=15)
# Ends are listed some time after they happened.
_LONGEST = timedelta(hours=24)
_MAX_LISTED = 5_000
_MAX_UNKNOWN = 1_000
_REST = timedelta(hours=1)
# For a key that may not ask: it is tried again, for keys are rotated.
_RECENT = 1_000


class SweepAccount:
    """One round over the account's listing."""

    def __init__(
        self,
        listing: FalListing,
        facts: Facts,
        ledger: Ledger,
        *,
        endpoints: Sequence[str],
        clock: Callable[[], datetime] | Clock,
    ) -> None:
        self._listing = listing
        self._facts = facts
        self._ledger = ledger
        self._configured = tuple(endpoints)
        self._clock = clock
        self._seen_until: datetime | None = None
        self._rests_until: datetime | None = None

    @property
    def note(self) -> str | None:
        """What an operator should know: the key may not ask for the listing."""
        if self._rests_until is None:
            return None
        return "fal does not let this key list the account's requests: lost ones are not found"

    async def round(self) -> int:
        """Hold the listing against the ledger. Raises Unavailable and SchemaDrift."""
        now = self._clock()
        if self._rests_until is not None and now < self._rests_until:
            return 0
        states = (SubmissionState.UNKNOWN,)
        unknown = await self._ledger.submissions(states=states, limit=_MAX_UNKNOWN)
        endpoints = await self._endpoints(unknown)
        if not endpoints:
            return 0
        try:
            listed = await self._list(endpoints, self._start(now, unknown), bool(unknown))
        except FalRefused as exc:
            self._rests_until = now + _REST
            _log.warning("sweep.failed", sweep="account", error=exc.reason)
            return 0
        self._rests_until = None
        if len(listed) < _MAX_LISTED and len(unknown) < _MAX_UNKNOWN:
            # Of a part nobody can say that a request is the only one.
            await self._resolve(unknown, listed)
        for item in listed:
            await self._tell(item)
        self._seen_until = now
        return 0

    async def _endpoints(self, unknown: Sequence[Submission]) -> list[str]:
        recent = await self._ledger.requests(RequestFilter(limit=_RECENT))
        named = [request.endpoint.value for request in recent if request.endpoint]
        named += [submission.endpoint for submission in unknown if submission.endpoint]
        return sorted({*named, *self._configured})

    def _start(self, now: datetime, unknown: Sequence[Submission]) -> datetime:
        earliest = min((item.first_at for item in unknown), default=now) - CLOCKS_DIFFER
        seen = self._seen_until - _OVERLAP if self._seen_until else now - _LONGEST
        return max(min(earliest, seen), now - _LONGEST - CLOCKS_DIFFER)

    async def _list(
        self, endpoints: Sequence[str], start: datetime, has_inputs: bool
    ) -> list[Listed]:
        listed: list[Listed] = []
        async for item in self._listing.since(endpoints, start, has_inputs=has_inputs):
            listed.append(item)
            if len(listed) >= _MAX_LISTED:
                break
        return listed

    async def _resolve(self, unknown: Sequence[Submission], listed: Sequence[Listed]) -> None:
        """Link unknown submissions to what they became, by fal's own listing."""
        if not unknown:
            return
        claimed = set()
        for item in listed:
            request = await self._ledger.request(item.request_id)
            if request is not None and request.submission is not None:
                claimed.add(item.request_id)
        for submission, item in matches(unknown, listed, claimed):
            await self._link(submission, item)

    async def _link(self, submission: Submission, item: Listed) -> None:
        name = submission.submission_id
        claim = await self._ledger.latest_claim(ClaimKind.SUBMISSION, name)
        detail = shown(claim.detail) if claim else {}
        _log.info("submission.found", submission_id=name, request_id=item.request_id)
        await self._facts.publish(
            new_fact(
                FactName.SUBMITTED,
                Witness.LISTING,
                self._clock(),
                request_id=item.request_id,
                submission_id=name,
                detail={"endpoint": submission.endpoint} | detail,
            )
        )

    async def _tell(self, item: Listed) -> None:
        if not is_news(item, await self._ledger.request(item.request_id)):
            return
        detail = {
            "endpoint": item.endpoint,
            "has_ended": item.ended_at is not None,
            "http_status": item.status_code,
        }
        await self._facts.publish(
            new_fact(
                FactName.LISTED,
                Witness.LISTING,
                self._clock(),
                request_id=item.request_id,
                detail={key: value for key, value in detail.items() if value is not None},
            )
        )
