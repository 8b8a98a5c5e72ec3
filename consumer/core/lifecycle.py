"""
Where a request and a submission stand: a join of facts.

Two laws of this file. All rules about states are in the two tables below and in `join_*`;
nothing else decides a state. And every rule is a join: facts only raise a rank, so that
any order and any repetition of the same facts ends in the same state.

A *request* is fal's, a *submission* is ours. fal's own word COMPLETED covers success,
failure and cancellation, so it is no state here. `docs/lifecycle.md` is generated from
these tables by `docs/generate.py`. What the joined values look like is in `standing`.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from consumer.core.cancellation import is_noted, join_notes, policy_of, weightier
from consumer.core.event import parse_time
from consumer.core.fact import Fact, FactName, Witness
from consumer.core.standing import (
    ENDS,
    RANK,
    SUBMISSION_ENDS,
    SUBMISSION_RANK,
    End,
    Named,
    Published,
    Request,
    Series,
    State,
    Submission,
    SubmissionState,
    end_key,
)
from consumer.core.text import storable

_Held = TypeVar("_Held", Request, Submission)

REQUEST_TABLE: dict[FactName, State] = {
    FactName.SUBMITTED: State.SUBMITTED,
    FactName.TRACKED: State.SUBMITTED,
    FactName.QUEUED: State.QUEUED,
    FactName.RUNNING: State.RUNNING,
    FactName.CANCEL_ASKED: State.CANCELLING,
    FactName.CANCEL_ACCEPTED: State.CANCELLING,
    FactName.LOST: State.LOST,
    FactName.CANCELLED: State.CANCELLED,
    FactName.FAILED: State.FAILED,
    FactName.SUCCEEDED: State.SUCCEEDED,
}
"""The least state of a request that each fact allows. Facts not named here raise nothing."""

SUBMISSION_TABLE: dict[FactName, SubmissionState] = {
    FactName.INTENDED: SubmissionState.INTENDED,
    FactName.SENDING: SubmissionState.SENDING,
    FactName.UNKNOWN: SubmissionState.UNKNOWN,
    FactName.NEVER_CONFIRMED: SubmissionState.LOST,
    FactName.STOPPED: SubmissionState.CANCELLED,
    FactName.REFUSED: SubmissionState.REFUSED,
    FactName.SUBMITTED: SubmissionState.SUBMITTED,
}
"""The least state of a submission that each fact allows."""

AUTHORITY = {Witness.SUBMIT: 3, Witness.LISTING: 2, Witness.COMMAND: 2, Witness.TOKEN: 1}
"""Who may say which endpoint, and which submission, a request belongs to; the highest wins."""


def join_request(held: Request | None, fact: Fact) -> Request:
    """Return the request with one more fact in it. Commutative, associative and idempotent."""
    held = held or Request(request_id=fact.request_id, first_at=fact.at, last_at=fact.at)
    change: dict[str, Any] = {
        "first_at": min(held.first_at, fact.at),
        "last_at": max(held.last_at, fact.at),
    }
    if fact.account and fact.account not in held.accounts:
        change["accounts"] = tuple(sorted({*held.accounts, fact.account}))
    state = REQUEST_TABLE.get(fact.name)
    if state in ENDS:
        change["ends"] = _join_ends(held.ends, _end_of(fact, state))
    elif state is not None and RANK[state] > RANK[held.live]:
        change["live"] = state
    return held.model_copy(update=change | _names_of(held, fact) | _marks_of(held, fact))


def join_submission(held: Submission | None, fact: Fact) -> Submission:
    """Return the submission with one more fact in it. Commutative, associative and idempotent."""
    held = held or Submission(submission_id=fact.submission_id, first_at=fact.at, last_at=fact.at)
    change: dict[str, Any] = {
        "first_at": min(held.first_at, fact.at),
        "last_at": max(held.last_at, fact.at),
        "is_cancel_remembered": held.is_cancel_remembered
        or fact.name is FactName.CANCEL_REMEMBERED,
    }
    if fact.name is FactName.CANCEL_REMEMBERED:
        change["cancel_policy"] = weightier(held.cancel_policy, policy_of(fact))
    if fact.request_id and fact.witness in AUTHORITY and fact.counts:
        change["request"] = _better(held.request, _named(fact.request_id, fact))
    state = SUBMISSION_TABLE.get(fact.name)
    if fact.witness is Witness.TOKEN and fact.counts:
        state = SubmissionState.SUBMITTED
    if state is not None and SUBMISSION_RANK[state] > SUBMISSION_RANK[held.state]:
        change["state"] = state
    for name in ("endpoint", "command_id", "input_sha256"):
        change[name] = max(getattr(held, name), _text_of(fact, name))
    if state in SUBMISSION_ENDS or state is SubmissionState.UNKNOWN:
        change["reason"] = max(held.reason, _text_of(fact, "reason"))
    change["tags"] = _tags(held.tags, fact)
    change |= _keys_of(held, fact)
    return held.model_copy(update=change)


def join_all(facts: Iterable[Fact]) -> Request | None:
    """Return the request that a set of facts about one request id makes, or None for none."""
    held: Request | None = None
    for fact in facts:
        held = join_request(held, fact)
    return held


def join_published(held: Published | None, new: Published) -> Published:
    """Return the result that stands: the highest revision wins."""
    return new if held is None or new.revision > held.revision else held


def join_result(held: _Held, published: Published, at: datetime) -> _Held:
    """Return the request or submission with one more result event in it, told at `at`."""
    return held.model_copy(
        update={
            "result": join_published(held.result, published),
            "first_at": min(held.first_at, at),
            "last_at": max(held.last_at, at),
        }
    )


def is_bound(request: Request, submission: Submission) -> bool:
    """Tell whether both sides name each other: only then does the one belong to the other."""
    return (
        request.submission is not None
        and submission.request is not None
        and request.submission.value == submission.submission_id
        and submission.request.value == request.request_id
    )


def _end_of(fact: Fact, state: State) -> End:
    return End(
        state=state,
        witness=fact.witness,
        at=fact.at,
        signed=fact.signed,
        counts=fact.counts,
        fact_id=fact.id,
        account=fact.account,
    )


def _join_ends(held: tuple[End, ...], new: End) -> tuple[End, ...]:
    """Keep the best of each (state, counts): a bounded set, whatever arrives."""
    best = {(end.state, end.counts): end for end in held}
    place = (new.state, new.counts)
    if place not in best or end_key(new) > end_key(best[place]):
        best[place] = new
    return tuple(best[key] for key in sorted(best))


def _names_of(held: Request, fact: Fact) -> dict[str, Any]:
    """Return who the request belongs to, where the fact's witness may say so."""
    if fact.witness not in AUTHORITY or not fact.counts:
        return {}
    endpoint, change = fact.detail.get("endpoint"), {}
    if isinstance(endpoint, str) and endpoint:
        change["endpoint"] = _better(held.endpoint, _named(endpoint, fact))
    if fact.submission_id:
        change["submission"] = _better(held.submission, _named(fact.submission_id, fact))
    return change


def _marks_of(held: Request, fact: Fact) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if is_noted(fact):
        return _cancel_marks(held, fact)
    if fact.name in (FactName.QUEUED, FactName.RUNNING):
        change["known_last_at"] = _latest(held.known_last_at, fact.at)
    if fact.name is FactName.QUEUED:
        position, at = fact.detail.get("position"), held.queue_position_at
        if isinstance(position, int) and (
            at is None or (fact.at, -position) > (at, -(held.queue_position or 0))
        ):
            change |= {"queue_position": position, "queue_position_at": fact.at}
    elif fact.name is FactName.NOT_FOUND:
        change["not_found_last_at"] = _latest(held.not_found_last_at, fact.at)
    elif fact.name is FactName.UNREADABLE and fact.counts:
        change["unreadable_at"] = _earliest(held.unreadable_at, fact.at)
    elif fact.witness in AUTHORITY and fact.counts:
        is_listed = fact.name is FactName.LISTED
        change |= _listing(held, fact) if is_listed else _tracking(held, fact)
    return change


def _cancel_marks(held: Request, fact: Fact) -> dict[str, Any]:
    change: dict[str, Any] = {"cancels": join_notes(held.cancels, fact)}
    if fact.name is FactName.CANCEL_ASKED:
        change["cancel_asked_at"] = _earliest(held.cancel_asked_at, fact.at)
    elif fact.name in (FactName.CANCEL_ACCEPTED, FactName.CANCEL_REFUSED):
        change["cancel_answered_at"] = _earliest(held.cancel_answered_at, fact.at)
    return change


def _listing(held: Request, fact: Fact) -> dict[str, Any]:
    """Return what fal's listing adds: ours, for our key lists it; nobody asked to track it."""
    has_ended = fact.detail.get("has_ended") is True
    ended_at = _earliest(held.listed_end_at, fact.at) if has_ended else held.listed_end_at
    return {"is_ours": True, "listed_end_at": ended_at}


def _tracking(held: Request, fact: Fact) -> dict[str, Any]:
    """Return what a submission, a track command or a valid token adds: somebody wants it."""
    detail = fact.detail
    return {
        "is_tracked": True,
        "is_ours": held.is_ours or fact.witness in (Witness.SUBMIT, Witness.LISTING),
        "has_callback": held.has_callback or detail.get("has_callback") is True,
        "start_by": _earliest(held.start_by, _maybe_time(detail.get("start_by"))),
        "finish_by": _earliest(held.finish_by, _maybe_time(detail.get("finish_by"))),
        "tags": _tags(held.tags, fact),
        "command_id": max(held.command_id, _text_of(fact, "command_id")),
        "keeps_payload": held.keeps_payload or detail.get("store_io") is True,
        **_keys_of(held, fact),
    }


_TOO_HIGH = 2**63  # for a column of the ledger


def _keys_of(held: Request | Submission, fact: Fact) -> dict[str, Any]:
    """Return the group, and the place in a series, that a submitter gave."""
    key, number = _text_of(fact, "supersedes"), fact.detail.get("number")
    places = [held.series] if held.series else []
    if key and isinstance(number, int) and 1 <= number < _TOO_HIGH:
        places.append(Series(key=key, number=number))
    return {
        "group": max(held.group, _text_of(fact, "group")),
        "series": max(places, key=lambda place: (place.key, place.number), default=None),
    }


def _named(value: str, fact: Fact) -> Named:
    return Named(value=storable(value), authority=AUTHORITY[fact.witness], at=fact.at)


def _better(held: Named | None, new: Named) -> Named:
    """Return the higher authority; within one, the earliest, then the least."""
    if held is None:
        return new
    return min(held, new, key=lambda named: (-named.authority, named.at, named.value))


def _tags(held: dict[str, str], fact: Fact) -> dict[str, str]:
    """
    Return the union of tags; of two values of one key, the greater (they never differ in
    practice).
    """
    found = fact.detail.get("tags")
    if not isinstance(found, dict):
        return held
    new = {storable(str(key)): storable(str(value)) for key, value in found.items()}
    return {key: max(held.get(key, ""), new.get(key, "")) for key in sorted({*held, *new})}


def _text_of(fact: Fact, name: str) -> str:
    return storable(str(fact.detail.get(name) or ""))


def _earliest(held: datetime | None, new: datetime | None) -> datetime | None:
    return min((at for at in (held, new) if at is not None), default=None)


def _latest(held: datetime | None, new: datetime) -> datetime:
    return new if held is None else max(held, new)


def _maybe_time(value: Any) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except ValueError:
        return None
