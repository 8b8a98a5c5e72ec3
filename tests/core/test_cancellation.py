"""Which policy wants a cancel and when, what became of it, and that notes are a join."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.cancellation import (
    Happened,
    cancel_at,
    cancel_wish,
    cancellation_of,
    is_noted,
    join_notes,
    weightier,
    wish_now,
    wishes,
)
from consumer.core.fact import FactName, Witness
from consumer.core.lifecycle import join_all, join_result
from consumer.core.policy import Policies
from consumer.core.standing import (
    CancelNote,
    CancelPolicy,
    End,
    Published,
    Request,
    State,
)
from tests.core.strategies import NOW, signed, told

POLICIES = Policies()
TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
QUEUE_LIMIT = Policies(cancel_queued_after=timedelta(minutes=30))
SOON, LATER = NOW + SECOND, NOW + timedelta(hours=1)


def request(**fields) -> Request:
    return Request(request_id="r", first_at=NOW, last_at=NOW, **{"is_tracked": True} | fields)


def ended(**fields) -> Request:
    end = End(
        state=State.FAILED, witness=Witness.WEBHOOK, at=NOW, signed=True, counts=True, fact_id="f"
    )
    return request(ends=(end,), **fields)


def wanted(policy, at=NOW) -> tuple[CancelNote, ...]:
    return (CancelNote(name=FactName.CANCEL_WANTED, policy=policy, at=at),)


# ---------------------------------------------------------------- who wants what


@pytest.mark.parametrize(
    "asked, expected",
    [
        (request(), NOW + timedelta(minutes=30)),
        (request(finish_by=SOON), SOON),
        (request(start_by=SOON, finish_by=LATER), SOON),
        (request(start_by=LATER), NOW + timedelta(minutes=30)),
        (request(start_by=SOON, live=State.QUEUED), SOON),
        (request(start_by=SOON, live=State.RUNNING), None),
        (request(start_by=SOON, finish_by=LATER, live=State.RUNNING), LATER),
        (request(start_by=SOON, finish_by=LATER, live=State.CANCELLING), SOON),
        (request(finish_by=SOON, cancel_asked_at=NOW), SOON),
        (request(finish_by=SOON, cancel_answered_at=NOW), None),
        (request(finish_by=SOON, is_tracked=False), None),
        (ended(finish_by=SOON), None),
        (request(cancels=wanted("superseded")), NOW),
        (request(cancels=wanted("superseded"), live=State.RUNNING), None),
        (request(cancels=wanted("group"), live=State.RUNNING), NOW),
        (request(cancels=wanted("asked", SOON), is_tracked=False), None),
    ],
)
def test_cancel_is_due_at_the_first_wish(asked, expected):
    """A cancel is due at the earliest deadline or wish that still matters, if any."""
    assert cancel_at(asked, QUEUE_LIMIT) == expected


def test_no_queue_limit_is_no_deadline():
    """Without a limit for queued requests only deadlines are due."""
    assert cancel_at(request(), POLICIES) is None
    assert cancel_at(request(start_by=SOON), POLICIES) == SOON


@pytest.mark.parametrize(
    "asked, is_queued, policy",
    [
        (request(finish_by=NOW), False, "finish_deadline"),
        (request(finish_by=NOW, start_by=NOW), True, "finish_deadline"),
        (request(finish_by=NOW + TICK), True, None),
        (request(start_by=NOW), True, "start_deadline"),
        (request(start_by=NOW), False, None),
        (request(start_by=NOW + TICK), True, None),
        (request(), True, None),
        (request(finish_by=NOW, is_tracked=False), True, None),
        (ended(finish_by=NOW), True, None),
        (request(cancels=wanted("superseded"), finish_by=NOW), True, "superseded"),
        (request(cancels=wanted("superseded"), finish_by=NOW), False, "finish_deadline"),
        (request(cancels=wanted("superseded")), False, None),
        (request(cancels=wanted("group") + wanted("asked")), False, "asked"),
    ],
)
def test_cancel_wish_at_the_edge(asked, is_queued, policy):
    """A deadline has passed at its very instant; only some policies stop a running job."""
    wish = cancel_wish(asked, is_queued=is_queued, now=NOW, policies=POLICIES)

    assert (wish.policy if wish else None) == policy


@pytest.mark.parametrize("early, policy", [(timedelta(0), "queue_wait"), (TICK, None)])
def test_queue_limit_at_the_edge(early, policy):
    """A request is queued too long at the very instant of the limit, while it is queued."""
    now = NOW + timedelta(minutes=30) - early
    wish = cancel_wish(request(), is_queued=True, now=now, policies=QUEUE_LIMIT)

    assert (wish.policy if wish else None) == policy
    assert cancel_wish(request(), is_queued=False, now=now, policies=QUEUE_LIMIT) is None


def test_an_operator_says_which_policies_stop_a_running_job():
    """What may stop a running job is configured, policy by policy."""
    superseding = Policies(cancel_running=frozenset({CancelPolicy.SUPERSEDED}))
    running = request(cancels=wanted("superseded"), finish_by=NOW, live=State.RUNNING)

    assert ["superseded"] == [wish.policy for wish in wishes(running, superseding)]
    assert ["finish_deadline"] == [wish.policy for wish in wishes(running, POLICIES)]


@pytest.mark.parametrize(
    "asked, policy",
    [
        (request(start_by=NOW), "start_deadline"),
        (request(start_by=NOW, live=State.QUEUED), "start_deadline"),
        (request(start_by=NOW, live=State.RUNNING), None),
        (request(finish_by=NOW, live=State.RUNNING), "finish_deadline"),
        (request(finish_by=NOW + TICK), None),
        (request(cancels=wanted("superseded")), "superseded"),
        (ended(finish_by=NOW), None),
    ],
)
def test_what_is_stale_is_judged_by_the_last_known_state(asked, policy):
    """Without asking fal, a request that was not seen running counts as waiting."""
    wish = wish_now(asked, NOW, POLICIES)

    assert (wish.policy if wish else None) == policy


# ---------------------------------------------------------------- what became of it


def asked(status="IN_QUEUE", policy="group", seconds=1):
    return told("cancel_asked", Witness.COMMAND, seconds, policy=policy, status=status, by="g")


def answered(name, answer, policy="group", seconds=2):
    return told(name, Witness.CANCEL, seconds, policy=policy, answer=answer)


TRACKED = told("tracked", Witness.COMMAND)
WANTED = told("cancel_wanted", Witness.SWEEP, policy="group", by="g")
OK = answered("cancelled", "OK")
ACCEPTED = answered("cancel_accepted", "CANCELLATION_REQUESTED")
REFUSED = answered("cancel_refused", "ALREADY_COMPLETED")
GONE = answered("cancelled", "NOT_FOUND")


@pytest.mark.parametrize(
    "told_facts, happened, is_billed",
    [
        ([WANTED], Happened.WANTED, None),
        ([WANTED, asked()], Happened.ASKED, None),
        ([asked(), ACCEPTED], Happened.ASKED, None),
        ([asked(), REFUSED], Happened.REFUSED, None),
        ([asked(), OK], Happened.REMOVED, False),
        ([asked(), ACCEPTED, signed("cancelled")], Happened.STOPPED, None),
        ([asked(), GONE], Happened.STOPPED, None),
        ([asked(), signed("cancelled")], Happened.STOPPED, None),
        ([asked(), ACCEPTED, signed("succeeded")], Happened.COMPLETED, True),
        ([asked(), OK, signed("succeeded")], Happened.COMPLETED, True),
        ([asked(), ACCEPTED, signed("failed")], Happened.COMPLETED, None),
        ([asked(), REFUSED, signed("succeeded")], Happened.REFUSED, True),
        ([WANTED, signed("succeeded")], Happened.COMPLETED, True),
        ([asked(), ACCEPTED, told("lost", Witness.SWEEP)], Happened.LOST, None),
    ],
)
def test_what_became_of_a_cancellation(told_facts, happened, is_billed):
    """The end and fal's answer say what happened, in whatever order they were learned."""
    for order in (told_facts, list(reversed(told_facts))):
        found = cancellation_of(join_all([TRACKED, *order]))

        assert (happened, is_billed) == (found.happened, found.is_billed)
        assert ("group", "g") == (found.policy, found.by)


def test_a_cancellation_tells_status_answer_and_times():
    """Fal's status just before, its exact answer, and when it was wanted and asked are told."""
    found = cancellation_of(join_all([TRACKED, WANTED, asked("IN_PROGRESS"), ACCEPTED]))

    assert ("IN_PROGRESS", "CANCELLATION_REQUESTED") == (found.status, found.answer)
    assert (NOW, NOW + SECOND) == (found.wanted_at, found.asked_at)


def test_the_policy_that_was_asked_first_is_told():
    """Of several policies the one that came furthest is told; as far, the first or weightiest."""
    both = [TRACKED, told("cancel_wanted", Witness.SWEEP, policy="superseded"), WANTED]

    assert "group" == cancellation_of(join_all(both)).policy
    assert "superseded" == cancellation_of(join_all([*both, asked(policy="superseded")])).policy


def test_a_late_refusal_does_not_hide_what_removed_it():
    """A caller who asked too late is refused; what removed the request stays told, by any clock."""
    late = told("cancel_refused", Witness.STATUS, 0, policy="asked", status="COMPLETED")

    found = cancellation_of(join_all([TRACKED, asked(), OK, late]))

    assert ("group", Happened.REMOVED, "IN_QUEUE") == (found.policy, found.happened, found.status)
    alone = cancellation_of(join_all([TRACKED, late, signed("cancelled")]))
    assert ("asked", Happened.REFUSED) == (alone.policy, alone.happened)


@pytest.mark.parametrize("units, is_billed", [("0", False), ("0.00", False), ("1.5", True)])
def test_units_say_whether_it_was_billed(units, is_billed):
    """What fal charged is told by the units of the result, where there are any."""
    held = join_all([TRACKED, asked(), ACCEPTED, signed("cancelled")])
    result = Published(revision=1, outcome="cancelled", witness="webhook", billable_units=units)

    assert is_billed == cancellation_of(join_result(held, result, NOW)).is_billed


def test_nothing_became_of_what_nobody_wanted():
    """A request without a cancellation has none to tell of."""
    assert cancellation_of(join_all([TRACKED, signed("cancelled")])) is None


# ---------------------------------------------------------------- the join of notes


noted = st.builds(
    told,
    st.sampled_from(
        ["cancel_wanted", "cancel_asked", "cancel_accepted", "cancel_refused", "cancelled"]
    ),
    st.just(Witness.CANCEL),
    st.integers(0, 3),
    policy=st.sampled_from(["asked", "group", "superseded", "whim", ["asked"], None]),
    answer=st.sampled_from(["OK", "CANCELLATION_REQUESTED", "\ud800", None]),
    status=st.sampled_from(["IN_QUEUE", "IN_PROGRESS", 5]),
    by=st.sampled_from(["", "r2"]),
)


@given(st.lists(noted, min_size=1, max_size=8), st.data())
def test_notes_are_the_same_in_any_order(told_facts, data):
    """Any order and any repetition of what is told makes the same notes, one for each policy."""
    again = data.draw(st.permutations(told_facts + told_facts[:2]))
    held, other = (), ()
    for fact in told_facts:
        held = join_notes(held, fact)
    for fact in again:
        other = join_notes(other, fact)

    assert all(map(is_noted, told_facts))
    assert held == other
    assert len({(note.name, note.policy) for note in held}) == len(held)
    assert {note.policy for note in held} <= set(CancelPolicy)


def test_the_weightier_policy_stands():
    """A caller's own word weighs more than a rule."""
    assert ["asked", "group", "group"] == [
        weightier("group", "asked"),
        weightier("group", "superseded"),
        weightier("", "group"),
    ]
