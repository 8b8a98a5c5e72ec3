"""
The one way to a result event: claim the revision, publish it, mark it published.

Whoever learns an end (fetch, commands, a sweep) comes through `Results.publish`; what a
crash left between claim and publication, the sweep of claims publishes.
"""

from datetime import timedelta

from consumer.core.event import Event, NewRecord, decode, encode, event_id
from consumer.core.fact import Fact, fact_event
from consumer.core.result import (
    Correlation,
    OutputMissing,
    Result,
    next_revision,
    published_of,
    result_event,
    result_from,
)
from consumer.core.standing import Published
from consumer.core.token import Token
from consumer.errors import InvariantBroken, RecordRefused
from consumer.ports import Claim, ClaimKind, Clock, Ledger, Publisher
from consumer.telemetry import get_logger

_log = get_logger()

_CLAIM_DEADLINE = timedelta(seconds=5)
_MAX_ERROR_CHARS = 1000


class Results:
    """Publishes result events, each revision of a subject once."""

    def __init__(self, publisher: Publisher, ledger: Ledger, *, source: str, clock: Clock) -> None:
        self._publisher = publisher
        self._ledger = ledger
        self._source = source
        self._clock = clock

    async def publish(self, result: Result) -> None:
        """
        Make the result durable on `fal.results`, unless what is published says as much. Raises
        Unavailable.
        """
        subject = result.request_id or result.submission_id
        if not subject:
            raise InvariantBroken("a result names a request or a submission")
        while True:
            held = await self._ledger.latest_claim(ClaimKind.RESULT, subject)
            said = Published.model_validate(held.detail) if held else None
            revision = next_revision(said, result)
            if revision is None:
                if held is not None and not held.is_published:
                    await self.publish_claim(held)
                return
            claim = self._claim(subject, result.model_copy(update={"revision": revision}))
            stands = await self._ledger.claim(claim)
            if stands.fingerprint == claim.fingerprint:
                await self.publish_claim(stands)
                return

    async def is_told(self, result: Result) -> bool:
        """Tell whether what is published says as much, with nothing missing. Raises Unavailable."""
        held = await self._ledger.latest_claim(ClaimKind.RESULT, result.request_id or "")
        if held is None or not held.is_published:
            return False
        said = Published.model_validate(held.detail)
        return said.output_missing is None and next_revision(said, result) is None

    async def publish_claim(self, claim: Claim) -> None:
        """Publish the event that a claim holds, and mark it. Raises Unavailable."""
        if claim.event is None or claim.is_published:
            return
        try:
            await self._publisher.append(claim.event)
        except RecordRefused:
            if claim.kind is not ClaimKind.RESULT:
                raise
            await self._publisher.append(_without_output(claim.event))
        await self._ledger.mark_published(claim)
        if claim.kind is ClaimKind.RESULT:
            _log.info(
                "result.published",
                request_id=claim.key,
                revision=claim.revision,
                state=claim.detail.get("outcome"),
            )

    def _claim(self, subject: str, result: Result) -> Claim:
        now = self._clock()
        event = result_event(result, source=self._source, at=now)
        return Claim(
            ClaimKind.RESULT,
            subject,
            result.revision,
            event_id(event.data),
            published_of(result).model_dump(),
            now,
            now + _CLAIM_DEADLINE,
            encode(event),
        )


class Facts:
    """Publishes facts and other unsigned events."""

    def __init__(self, publisher: Publisher, *, source: str) -> None:
        self._publisher = publisher
        self.source = source

    async def publish(self, fact: Fact) -> None:
        """Make the fact durable on `fal.lifecycle`. Raises Unavailable."""
        await self._publisher.append(encode(fact_event(fact, self.source)))

    async def publish_event(self, event: Event) -> None:
        """Make an event durable on its topic. Raises Unavailable."""
        await self._publisher.append(encode(event))


def _without_output(record: NewRecord) -> NewRecord:
    """Return the result event that stands for one which the log refuses: an end needs its event."""
    event = decode(record.headers, record.value)
    result = result_from(event)
    slim = result.model_copy(
        update={
            "output": None,
            "output_base64": None,
            "content_type": None,
            "media": [],
            "error": result.error and result.error[:_MAX_ERROR_CHARS],
            "output_missing": result.output_missing or OutputMissing.TOO_LARGE.value,
        }
    )
    return encode(result_event(slim, source=event.source, at=event.time))


async def correlation_of(ledger: Ledger, request_id: str, token: Token | None) -> Correlation:
    """
    Return what the submitter of a request recognises it by.

    The projection knows requests that were submitted or tracked; a token's submission is
    known from its claim at once. A submission that belongs to another request is left out.
    """
    request = await ledger.request(request_id)
    endpoint = request.endpoint.value if request and request.endpoint else ""
    endpoint = endpoint or (token.endpoint if token else "")
    named = request.submission.value if request and request.submission else ""
    submission_id = named or (token.submission_id if token else "")
    claim = (
        await ledger.latest_claim(ClaimKind.SUBMISSION, submission_id) if submission_id else None
    )
    if claim is not None and await _may_belong(ledger, claim, request_id):
        tags = tuple(sorted((claim.detail.get("tags") or {}).items()))
        return Correlation(submission_id, claim.detail.get("command_id", ""), endpoint, tags)
    if request is None:
        return Correlation(endpoint=endpoint)
    return Correlation("", request.command_id, endpoint, tuple(sorted(request.tags.items())))


async def _may_belong(ledger: Ledger, claim: Claim, request_id: str) -> bool:
    """Tell whether a submission has no other request id, by fal's answer or by what is recorded."""
    told = claim.detail.get("request_id")
    if told is not None:
        return bool(told == request_id)
    submission = await ledger.submission(claim.key)
    named = submission.request if submission else None
    return named is None or named.value == request_id
