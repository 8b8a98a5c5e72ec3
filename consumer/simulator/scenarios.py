"""
The scenarios: what can happen to one request, as a table of independent choices.

A request names its scenario in the input field `simulate`, otherwise one is drawn by
weight. This file only names the choices; the other modules carry them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType


class Submit(Enum):
    """What the caller of submit sees."""

    ANSWERED = auto()
    AFTER_WEBHOOK = auto()  # answered only once the first webhook attempt is over
    CUT = auto()  # the job is accepted, the connection dies before the answer
    FAILED = auto()  # 500, and no job exists


class Course(Enum):
    """How the job moves through the queue."""

    NORMAL = auto()
    INSTANT = auto()
    SLOW = auto()
    STUCK = auto()  # never starts
    REGRESSES = auto()  # IN_PROGRESS goes back to IN_QUEUE once
    IGNORES_CANCEL = auto()


class Answer(Enum):
    """What the model answers in the end."""

    IMAGE = auto()
    BYTES = auto()  # not JSON: the webhook carries a null payload
    REFUSED = auto()  # HTTP 422 with a list of details
    NO_PATH = auto()  # HTTP 404 of the app itself, null payload in the webhook
    RUNNER_LOST = auto()  # HTTP 503, an infrastructure failure
    HUGE_SEED = auto()
    NUL_PROMPT = auto()
    SURROGATE_PROMPT = auto()
    DEEP = auto()
    BIG = auto()


class Webhook(Enum):
    """When and how often the genuine delivery is sent."""

    ONCE = auto()
    DUPLICATE = auto()  # twice at once, and again later
    LATE = auto()
    LOST = auto()
    REORDERED = auto()  # held back behind a later request; the older signature arrives last


class Body(Enum):
    """What the genuine delivery says."""

    COMPLETION = auto()
    UNREADABLE = auto()
    OTHER_ID = auto()


class Extra(Enum):
    """A delivery that must not count, sent in addition to the genuine one."""

    FORGED_KEY = "forged:key"
    FORGED_BODY = "forged:body"
    FORGED_OLD_TIMESTAMP = "forged:old_timestamp"
    FOREIGN_ACCOUNT = "foreign:account"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table: everything that differs from a plain, successful request."""

    name: str
    submit: Submit = Submit.ANSWERED
    course: Course = Course.NORMAL
    answer: Answer = Answer.IMAGE
    webhook: Webhook = Webhook.ONCE
    body: Body = Body.COMPLETION
    extra: Extra | None = None
    wording: str = "Unexpected"  # of "… status code: 422"; fal has used both


_TABLE = (
    Scenario("plain"),
    Scenario("duplicate", webhook=Webhook.DUPLICATE),
    Scenario("late", webhook=Webhook.LATE),
    Scenario("lost", webhook=Webhook.LOST),
    Scenario("reordered", webhook=Webhook.REORDERED),
    Scenario("early", submit=Submit.AFTER_WEBHOOK, course=Course.INSTANT),
    Scenario("payload_null", answer=Answer.BYTES),
    Scenario("error_422", answer=Answer.REFUSED),
    Scenario("error_invalid_wording", answer=Answer.REFUSED, wording="Invalid"),
    Scenario("error_null_payload", answer=Answer.NO_PATH, wording="Invalid"),
    Scenario("error_infrastructure", answer=Answer.RUNNER_LOST),
    Scenario("stuck", course=Course.STUCK),
    Scenario("slow_run", course=Course.SLOW),
    Scenario("cancel_ignored", course=Course.IGNORES_CANCEL),
    Scenario("regress", course=Course.REGRESSES),
    Scenario("huge_seed", answer=Answer.HUGE_SEED),
    Scenario("nul_prompt", answer=Answer.NUL_PROMPT),
    Scenario("surrogate_prompt", answer=Answer.SURROGATE_PROMPT),
    Scenario("deep_nesting", answer=Answer.DEEP),
    Scenario("big_body", answer=Answer.BIG),
    Scenario("unreadable", body=Body.UNREADABLE),
    Scenario("other_id", body=Body.OTHER_ID),
    Scenario("forged_key", extra=Extra.FORGED_KEY),
    Scenario("forged_body", extra=Extra.FORGED_BODY),
    Scenario("forged_old_timestamp", extra=Extra.FORGED_OLD_TIMESTAMP),
    Scenario("foreign_account", extra=Extra.FOREIGN_ACCOUNT),
    Scenario("unknown_submit", submit=Submit.CUT),
    Scenario("submit_500", submit=Submit.FAILED),
)

SCENARIOS: Mapping[str, Scenario] = MappingProxyType({row.name: row for row in _TABLE})
PLAIN_WEIGHTS: Mapping[str, float] = MappingProxyType({"plain": 1.0})
# A rough day: four in ten requests meet something. `big_body` is rare because it is heavy.
MIXED_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {name: 0.25 if name == "big_body" else 1.5 for name in SCENARIOS} | {"plain": 60.0}
)
