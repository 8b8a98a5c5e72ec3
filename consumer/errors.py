"""
Every error this project raises on purpose, in one tree.

Each level answers one question: who must act? Errors carry fields; the sentence
is computed here and nowhere else, and never holds a body, key, signature or token.

    ConsumerError
    ├─ ConfigError              the operator's fault; exit code 2
    ├─ DeliveryError            the sender's fault; carries the HTTP status to answer
    │  ├─ MalformedDelivery     400
    │  ├─ DeliveryTooLarge      413
    │  ├─ ForeignAccount        403
    │  └─ UnverifiedDelivery    401
    │     ├─ ExpiredTimestamp
    │     └─ BadSignature
    ├─ EventError               a record we cannot use: dead letter
    │  ├─ UndecodableEvent
    │  └─ UnsupportedVersion
    ├─ BadToken                 a callback token that proves nothing
    ├─ BadKeySet                a JWKS document without one usable key
    ├─ RecordRefused            the log will never take this record
    ├─ CommandRefused           a command that was not carried out; its sender must act
    ├─ Unavailable              the world's fault; trying again may help
    │  ├─ KeysUnavailable
    │  ├─ LogUnavailable
    │  ├─ LedgerUnavailable
    │  ├─ FalUnavailable
    │  └─ NoService             nobody works on the data folder
    ├─ FalRefused               fal understood and said no; trying again will not help
    ├─ SchemaDrift              fal answered something this version does not know
    └─ InvariantBroken          our fault
"""

from collections.abc import Sequence
from typing import ClassVar


class ConsumerError(Exception):
    """Base of every error of ours. `code` is stable and safe to show to anybody."""

    code: ClassVar[str] = "error"

    def __str__(self) -> str:
        return self.code


class ConfigError(ConsumerError):
    """Everything wrong with the configuration, at once, one sentence per mistake."""

    code = "config"

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(mistakes)
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        return "\n".join(self.mistakes)


class DeliveryError(ConsumerError):
    """The sender's fault. `http_status` is what the receiver answers, with an empty body."""

    code = "delivery"
    http_status: ClassVar[int] = 400


class MalformedDelivery(DeliveryError):
    """A header is missing, sent twice or outside its grammar, or the request is unreadable."""

    code = "malformed"

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(part, problem)
        self.part = part
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.part}: {self.problem}"


class DeliveryTooLarge(DeliveryError):
    """The body is over the limit."""

    code = "too_large"
    http_status = 413

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return f"body over the limit of {self.max_bytes} bytes"


class ForeignAccount(DeliveryError):
    """Signed by fal, but for an account that is not ours."""

    code = "foreign_account"
    http_status = 403

    def __init__(self, account: str) -> None:
        super().__init__(account)
        self.account = account

    def __str__(self) -> str:
        return f"account {self.account!r} is not among the configured ones"


class UnverifiedDelivery(DeliveryError):
    """Not proven to come from fal."""

    code = "unverified"
    http_status = 401


class ExpiredTimestamp(UnverifiedDelivery):
    """The signed timestamp is too far from our clock."""

    code = "expired_timestamp"

    def __init__(self, age_s: int) -> None:
        super().__init__(age_s)
        self.age_s = age_s

    def __str__(self) -> str:
        return f"timestamp is {self.age_s} s away from our clock"


class BadSignature(UnverifiedDelivery):
    """No key of the set verifies the signature."""

    code = "bad_signature"

    def __init__(self, keys_tried: int) -> None:
        super().__init__(keys_tried)
        self.keys_tried = keys_tried

    def __str__(self) -> str:
        return f"none of {self.keys_tried} keys verifies the signature"


class EventError(ConsumerError):
    """A record that cannot be used: set aside as a dead letter, whole."""

    code = "event"


class UndecodableEvent(EventError):
    """The record is not an event of ours, or its data is not what its type promises."""

    code = "undecodable"

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(part, problem)
        self.part = part
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.part}: {self.problem}"


class UnsupportedVersion(EventError):
    """The event's type is newer than this version of the service."""

    code = "unsupported_version"

    def __init__(self, event_type: str) -> None:
        super().__init__(event_type)
        self.event_type = event_type

    def __str__(self) -> str:
        return f"event type {self.event_type!r} is not known to this version"


class BadToken(ConsumerError):
    """A token that was not signed with one of our secrets, or says nothing usable."""

    code = "bad_token"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"token: {self.problem}"


class BadKeySet(ConsumerError):
    """A JWKS document from which no usable key set can be made."""

    code = "bad_key_set"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"key set: {self.problem}"


class RecordRefused(ConsumerError):
    """The log will never take this record as it is (too large, invalid)."""

    code = "record_refused"

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(topic, problem)
        self.topic = topic
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.topic}: {self.problem}"


class CommandRefused(ConsumerError):
    """
    A command was not carried out. `reason` is a word, `problem` a sentence where there is one;
    `state` is what a submission ended in: refused, cancelled or lost.
    """

    code = "command_refused"

    def __init__(self, reason: str, problem: str = "", *, state: str = "refused") -> None:
        super().__init__(reason, problem, state)
        self.reason = reason
        self.problem = problem
        self.state = state

    def __str__(self) -> str:
        return f"{self.state}: {self.problem or self.reason}"


class Unavailable(ConsumerError):
    """
    The world's fault: trying again may help. `retry_after_s` is set when the other side named it.
    """

    code = "unavailable"

    def __init__(self, problem: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.code}: {self.problem}"


class KeysUnavailable(Unavailable):
    """No key set within its hard expiry is held."""

    code = "keys_unavailable"


class LogUnavailable(Unavailable):
    """The event log does not take or give records now."""

    code = "log_unavailable"


class LedgerUnavailable(Unavailable):
    """The ledger's database does not answer now."""

    code = "ledger_unavailable"


class FalUnavailable(Unavailable):
    """
    fal does not answer now, or answers that it cannot. `came` describes an answer that was no
    answer: its status, kind and size, nothing of its text.
    """

    code = "fal_unavailable"

    def __init__(self, problem: str, *, retry_after_s: float | None = None, came: str = "") -> None:
        super().__init__(problem, retry_after_s=retry_after_s)
        self.came = came

    def __str__(self) -> str:
        return f"{super().__str__()}{f' ({self.came})' if self.came else ''}"


class NoService(Unavailable):
    """No service works on the data folder; `is_asked`: a command of ours waits there for one."""

    code = "no_service"

    def __init__(self, folder: str, *, is_asked: bool = False) -> None:
        gone = "`serve` (on Kafka `work`) has stopped meanwhile"
        super().__init__(gone if is_asked else f"no `fal-consumer serve` runs on {folder}")
        self.folder = folder
        self.is_asked = is_asked

    def __str__(self) -> str:
        return self.problem


class FalRefused(ConsumerError):
    """fal understood the call and said no; the same call again gets the same answer."""

    code = "fal_refused"

    def __init__(self, http_status: int, reason: str) -> None:
        super().__init__(http_status, reason)
        self.http_status = http_status
        self.reason = reason

    def __str__(self) -> str:
        return f"fal answered {self.http_status}: {self.reason}"


class SchemaDrift(ConsumerError):
    """
    fal answered something this version does not know; `body` is kept whole, never shown.

    `where` is the field, `expected` what it should be, `came` what kind of value it is; none
    of them quotes the body.
    """

    code = "schema_drift"

    def __init__(
        self, operation: str, where: str, body: bytes, *, expected: str = "", came: str = ""
    ) -> None:
        super().__init__(operation, where, expected, came)
        self.operation = operation
        self.where = where
        self.expected = expected
        self.came = came
        self.body = body

    @property
    def problem(self) -> str:
        """What is wrong, as one sentence."""
        if not self.expected:
            return self.where
        return f"{self.where}: expected {self.expected}, came {self.came}"

    def __str__(self) -> str:
        return f"{self.operation}: {self.problem}"


class InvariantBroken(ConsumerError):
    """Our own mistake. Never caught below the outermost loop."""

    code = "invariant_broken"

    def __init__(self, invariant: str) -> None:
        super().__init__(invariant)
        self.invariant = invariant

    def __str__(self) -> str:
        return self.invariant
