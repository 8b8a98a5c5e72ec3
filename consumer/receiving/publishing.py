"""
Making a verified delivery durable: as an event, or whole as a dead letter.

Returns only after the log's word. What cannot be read is never refused: fal signed it,
and would send the same bytes again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from enum import StrEnum
from typing import NamedTuple

from consumer.core.completion import webhook_fields, webhook_record
from consumer.core.event import NewRecord
from consumer.core.signature import VerifiedDelivery
from consumer.core.token import MAX_TOKEN_CHARS, Token, parse_token
from consumer.deadlines import SharedDeadline, Wait, in_time
from consumer.errors import BadToken, LogUnavailable, RecordRefused, UndecodableEvent
from consumer.ports import Clock, Position, Publisher
from consumer.receiving.limits import ReceiverLimits, Room
from consumer.setting_aside import letter_before_log

_Appended = tuple[Position, str]
"""Where a record rests, and why it is a dead letter (or nothing)."""

UNREADABLE_BODY = "unreadable_body"
OTHER_REQUEST_ID = "other_request_id"
RECORD_REFUSED = "record_refused"


class Verdict(StrEnum):
    """What became of a delivery that was answered 200."""

    ACCEPTED = "accepted"
    UNPROVEN = "unproven"
    COPY = "copy"
    DEAD_LETTERED = "dead_lettered"


class Published(NamedTuple):
    """Where the delivery rests: `position` None for a copy, `reason` set for a dead letter."""

    verdict: Verdict
    position: Position | None = None
    reason: str = ""


class Envelope(NamedTuple):
    """A verified delivery and what the receiver saw around it. `path_token` is as received."""

    verified: VerifiedDelivery
    path_token: str
    is_ours: bool


class Desk:
    """Publishes envelopes, so many at once and no more."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        source: str,
        token_secrets: tuple[bytes, ...],
        clock: Clock,
        limits: ReceiverLimits,
    ) -> None:
        self._publisher = publisher
        self._source = source
        self._token_secrets = token_secrets
        self._clock = clock
        self._room = Room(max_count=limits.max_publishing, max_bytes=limits.max_publishing_bytes)
        self._deadline = SharedDeadline(limits.publish_deadline.total_seconds())
        self._copies = _Copies(limits.max_copies)

    async def publish(self, envelope: Envelope, *, answer_at: float) -> Published:
        """
        Return once the delivery is durable, by `answer_at` (loop time) at the latest.

        Raises LogUnavailable; then the record may or may not be in the log.
        """
        mark = _mark(envelope)
        if mark in self._copies:
            return Published(Verdict.COPY)
        record, reason = self._record(envelope)
        size = len(record.value)
        if not self._room.maybe_take(size):
            raise LogUnavailable("too many deliveries wait for the log")
        try:
            position, reason = await self._in_time(self._append(record, reason), answer_at)
        except TimeoutError as exc:
            raise LogUnavailable("the log took too long") from exc
        finally:
            self._room.give_back(size)
        self._copies.add(mark)
        if reason:
            return Published(Verdict.DEAD_LETTERED, position, reason)
        return Published(Verdict.ACCEPTED if envelope.is_ours else Verdict.UNPROVEN, position)

    def _in_time(self, work: Awaitable[_Appended], answer_at: float) -> Awaitable[_Appended]:
        """Return what waits for `work`, for as long as both deadlines allow."""
        if asyncio.get_running_loop().time() + self._deadline.granted_s <= answer_at:
            return self._deadline.in_time(Wait(), work)
        return in_time(work, answer_at)

    async def _append(self, record: NewRecord, reason: str) -> _Appended:
        try:
            return await self._publisher.append(record), reason
        except RecordRefused as exc:
            if reason:
                raise LogUnavailable("the log refuses the dead letter") from exc
        letter = self._dead_letter(record, RECORD_REFUSED)
        try:
            return await self._publisher.append(letter), RECORD_REFUSED
        except RecordRefused as exc:
            raise LogUnavailable("the log refuses the dead letter") from exc

    def _record(self, envelope: Envelope) -> tuple[NewRecord, str]:
        """Return the record, and why it is a dead letter (or nothing)."""
        path_token = envelope.path_token if _is_storable(envelope.path_token) else ""
        record = webhook_record(
            envelope.verified,
            source=self._source,
            token=self._maybe_token(path_token) if envelope.is_ours else None,
            raw_token=path_token,
            ours=envelope.is_ours,
        )
        reason = _fault(envelope.verified)
        return (self._dead_letter(record, reason) if reason else record), reason

    def _maybe_token(self, path_token: str) -> Token | None:
        if not path_token:
            return None
        try:
            return parse_token(path_token, self._token_secrets)
        except BadToken:
            return None

    def _dead_letter(self, record: NewRecord, reason: str) -> NewRecord:
        return letter_before_log(record, reason, origin="receiver", at=self._clock())


class _Copies:
    """Marks of deliveries that are durable; the oldest goes when there are too many."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._marks: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def __contains__(self, mark: tuple[bytes, str]) -> bool:
        return mark in self._marks

    def add(self, mark: tuple[bytes, str]) -> None:
        self._marks[mark] = None
        if len(self._marks) > self._max_count:
            self._marks.popitem(last=False)


def _mark(envelope: Envelope) -> tuple[bytes, str]:
    """
    Return what only an exact copy shares, some 150 bytes: there are many of them in memory.

    The signature was verified, so it stands for all that it signs: both ids, timestamp, body.
    """
    signature = envelope.verified.delivery.headers.signature
    return bytes.fromhex(signature), envelope.path_token


def _fault(verified: VerifiedDelivery) -> str:
    try:
        webhook_fields(verified.delivery.body, verified.request_id)
    except UndecodableEvent as exc:
        return OTHER_REQUEST_ID if exc.part == "request_id" else UNREADABLE_BODY
    return ""


def _is_storable(path_token: str) -> bool:
    """Tell whether a path's token can travel in a header: ours always can."""
    return len(path_token) <= MAX_TOKEN_CHARS and path_token.isascii() and path_token.isprintable()
