"""
Which policy wants a request cancelled, and what became of a cancellation.

A policy only ever asks: fal's answer and the end that follows say what happened. No clock:
`now` is an argument.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from consumer.core.fact import Fact, FactName, Witness
from consumer.core.policy import Policies
from consumer.core.standing import CancelNote, CancelPolicy, Request, State
from consumer.core.text import storable

_NOTED = frozenset(
    {
        FactName.CANCEL_WANTED,
        FactName.CANCEL_ASKED,
        FactName.CANCEL_ACCEPTED,
        FactName.CANCEL_REFUSED,
    }
)
_ORDER = tuple(policy.value for policy in CancelPolicy)  # the weightiest first
UNLIMITED = frozenset({CancelPolicy.ASKED, CancelPolicy.GROUP})
"""Policies that somebody asked for by name; the limit a minute is for all others."""


# ---------------------------------------------------------------- who wants what, since when


@dataclass(frozen=True, slots=True)
class Wish:
    """A policy that wants a request cancelled from `at` on."""

    policy: CancelPolicy
    at: datetime


def wishes(request: Request, policies: Policies) -> list[Wish]:
    """
    Return every policy that wants the request cancelled, now or later; the weightiest first.

    Only tracked requests without an end, and only while fal has not answered a cancel (one
    that was asked and cut is asked again). A request that has started has only the policies
    that may stop a running job.
    """
    if not request.is_tracked or request.end is not None or request.cancel_answered_at is not None:
        return []
    instants: dict[CancelPolicy, datetime | None] = {
        CancelPolicy(note.policy): note.at
        for note in request.cancels
        if note.name is FactName.CANCEL_WANTED
    }
    instants[CancelPolicy.FINISH_DEADLINE] = request.finish_by
    instants[CancelPolicy.START_DEADLINE] = request.start_by
    if policies.cancel_queued_after is not None:
        instants[CancelPolicy.QUEUE_WAIT] = request.first_at + policies.cancel_queued_after
    # One whose cancel was asked and cut may have started or not: its status is asked again.
    has_started = request.live is State.RUNNING
    return [
        Wish(policy, at)
        for policy in CancelPolicy
        if (at := instants.get(policy)) is not None
        and (policy in policies.cancel_running or not has_started)
    ]


def cancel_at(request: Request, policies: Policies) -> datetime | None:
    """Return when a policy first wants the request cancelled, or None."""
    return min((wish.at for wish in wishes(request, policies)), default=None)


def cancel_wish(
    request: Request, *, is_queued: bool, now: datetime, policies: Policies
) -> Wish | None:
    """Return the policy that wants the request cancelled, its status just asked; or None."""
    for wish in wishes(request, policies):
        if wish.at <= now and (is_queued or wish.policy in policies.cancel_running):
            return wish
    return None


def wish_now(request: Request, now: datetime, policies: Policies) -> Wish | None:
    """Return the policy that wants the request cancelled now, judged by its last known state."""
    is_queued = request.live is not State.RUNNING
    return cancel_wish(request, is_queued=is_queued, now=now, policies=policies)


# ---------------------------------------------------------------- what became of it


class Happened(StrEnum):
    """What a cancellation truly came to."""

    WANTED = "wanted"  # not asked yet
    ASKED = "asked"  # no answer, or accepted and without an end yet
    REMOVED = "removed"  # taken out of the queue: it never ran
    STOPPED = "stopped"  # it ran, or may have, and was stopped
    COMPLETED = "completed_anyway"  # its result is kept
    REFUSED = "refused"  # fal would not, any more
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """
    One cancellation as told to people and programs.

    `status` is what fal said right before the call, `answer` its exact answer to it.
    `is_billed` is True where it completed with billable units or a result all the same, None
    where nobody can tell.
    """

    policy: str
    happened: Happened
    wanted_at: datetime | None
    asked_at: datetime | None
    status: str
    answer: str
    by: str
    is_billed: bool | None


def cancellation_of(request: Request) -> Cancellation | None:
    """Return what became of the request's cancellation, or None where nobody wanted one."""
    if not request.cancels:
        return None
    policy = _policy_told(request)
    notes = {note.name: note for note in request.cancels if note.policy == policy}
    wanted, asked = notes.get(FactName.CANCEL_WANTED), notes.get(FactName.CANCEL_ASKED)
    told = (FactName.CANCELLED, FactName.CANCEL_ACCEPTED, FactName.CANCEL_REFUSED)
    answered = next((notes[name] for name in told if name in notes), None)
    happened = _happened(request, asked, answered)
    return Cancellation(
        policy=policy,
        happened=happened,
        wanted_at=wanted.at if wanted else None,
        asked_at=asked.at if asked else None,
        status=(asked.status if asked else "") or (answered.status if answered else ""),
        answer=answered.answer if answered else "",
        by=next((note.by for note in (wanted, asked) if note and note.by), ""),
        is_billed=_is_billed(request, happened),
    )


_FURTHEST = (
    FactName.CANCELLED,
    FactName.CANCEL_ACCEPTED,
    FactName.CANCEL_ASKED,
    FactName.CANCEL_REFUSED,
    FactName.CANCEL_WANTED,
)


def _policy_told(request: Request) -> str:
    """
    Return the policy that came furthest; of those that came as far the first, then the weightiest.

    Not simply the first: two workers' clocks differ, and who asked last may seem the first.
    """
    return min(
        request.cancels,
        key=lambda note: (_FURTHEST.index(note.name), note.at, _ORDER.index(note.policy)),
    ).policy


def _happened(request: Request, asked: CancelNote | None, answered: CancelNote | None) -> Happened:
    end = request.end
    if end is not None and end.state is State.LOST:
        return Happened.LOST
    if answered is not None and answered.name is FactName.CANCEL_REFUSED:
        return Happened.REFUSED
    if end is None:
        return Happened.ASKED if asked or answered else Happened.WANTED
    if end.state is not State.CANCELLED:
        return Happened.COMPLETED
    is_removed = answered is not None and (answered.name, answered.answer) == _REMOVED
    return Happened.REMOVED if is_removed else Happened.STOPPED


_REMOVED = (FactName.CANCELLED, "OK")


def _is_billed(request: Request, happened: Happened) -> bool | None:
    """
    Tell whether it cost something: a result was made, or fal named units.

    Source: fal docs, "Billing" (2026-10): what was removed from the queue is not charged.
    """
    if happened is Happened.REMOVED:
        return False
    if request.end is None or happened is Happened.LOST:
        return None
    units = request.result.billable_units if request.result else None
    if units is not None:
        return units.strip("0.") != ""
    return True if request.end.state is State.SUCCEEDED else None


# ---------------------------------------------------------------- joined into a standing


def is_noted(fact: Fact) -> bool:
    """Tell whether a fact belongs to a cancellation."""
    return fact.name in _NOTED or (
        fact.name is FactName.CANCELLED and fact.witness is Witness.CANCEL
    )


def policy_of(fact: Fact) -> str:
    """Return the policy that a fact about a cancellation names: bounded, whatever is told."""
    policy = fact.detail.get("policy")
    return policy if policy in _ORDER else CancelPolicy.ASKED.value


def weightier(held: str, new: str) -> str:
    """Return the weightier of two policies; `held` may be empty."""
    return min(held or new, new, key=_ORDER.index)


def join_notes(held: tuple[CancelNote, ...], fact: Fact) -> tuple[CancelNote, ...]:
    """Return the notes with one more: the earliest of each (fact, policy), a bounded set."""
    texts = {
        name: storable(str(fact.detail.get(name) or "")) for name in ("status", "answer", "by")
    }
    new = CancelNote(name=fact.name, policy=policy_of(fact), at=fact.at, **texts)
    notes = {(note.name, note.policy): note for note in held}
    place = (new.name, new.policy)
    notes[place] = min(notes.get(place, new), new, key=_note_key)
    return tuple(notes[key] for key in sorted(notes))


def _note_key(note: CancelNote) -> tuple[Any, ...]:
    return note.at, note.answer, note.status, note.by
