"""The lifecycle: every row of its tables, and that it is a join."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.core.fact import FactName, Witness
from consumer.core.lifecycle import (
    join_all,
    join_published,
    join_request,
    join_result,
    join_submission,
)
from consumer.core.standing import (
    ENDS,
    RANK,
    SUBMISSION_ENDS,
    SUBMISSION_RANK,
    End,
    Published,
    Request,
    State,
    Submission,
    SubmissionState,
)
from tests.core.strategies import NOW, facts, signed, told

# What each fact allows at least, written a second time on purpose: the table is the product.
REQUEST_ROWS = {
    "submitted": "submitted",
    "tracked": "submitted",
    "queued": "queued",
    "running": "running",
    "cancel_asked": "cancelling",
    "cancel_accepted": "cancelling",
    "lost": "lost",
    "cancelled": "cancelled",
    "failed": "failed",
    "succeeded": "succeeded",
}
SUBMISSION_ROWS = {
    "intended": "intended",
    "sending": "sending",
    "unknown": "unknown",
    "never_confirmed": "lost",
    "stopped": "cancelled",
    "refused": "refused",
    "submitted": "submitted",
}
REQUEST_ORDER = [
    "seen",
    "submitted",
    "queued",
    "running",
    "cancelling",
    "lost",
    "cancelled",
    "failed",
    "succeeded",
]
SUBMISSION_ORDER = [
    "intended",
    "sending",
    "unknown",
    "lost",
    "cancelled",
    "refused",
    "submitted",
]


def request_in(state: State) -> Request:
    """Return a request in a state, as the facts that lead there make it."""
    name = next((name for name, row in REQUEST_ROWS.items() if row == state), None)
    held = join_request(None, told("token_mismatched"))
    return join_request(held, told(name)) if name else held


def submission_in(state: SubmissionState) -> Submission:
    name = next(name for name, row in SUBMISSION_ROWS.items() if row == state)
    return join_submission(None, told(name, Witness.SWEEP, submission_id="sub_1"))


def folded(join, told_facts):
    held = None
    for fact in told_facts:
        held = join(held, fact)
    return held


# ---------------------------------------------------------------- the tables


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", FactName)
def test_every_fact_in_every_state_of_a_request(state, name):
    """Each fact raises a request to its row's state at least, and never lowers it."""
    after = join_request(request_in(state), told(name))

    least = REQUEST_ROWS.get(name, "seen")
    assert after.state == max(state, least, key=REQUEST_ORDER.index)


@pytest.mark.parametrize("state", SubmissionState)
@pytest.mark.parametrize("name", FactName)
def test_every_fact_in_every_state_of_a_submission(state, name):
    """Each fact raises a submission to its row's state at least, and never lowers it."""
    fact = told(name, Witness.SWEEP, submission_id="sub_1")

    after = join_submission(submission_in(state), fact)

    least = SUBMISSION_ROWS.get(name, "intended")
    assert after.state == max(state, least, key=SUBMISSION_ORDER.index)


def test_ranks_are_total_and_ends_are_last():
    """States are ranked in one total order, and every end outranks every other state."""
    assert sorted(State, key=RANK.get) == REQUEST_ORDER
    assert sorted(SubmissionState, key=SUBMISSION_RANK.get) == SUBMISSION_ORDER
    assert set(REQUEST_ORDER[5:]) == ENDS
    assert set(SUBMISSION_ORDER[3:]) == SUBMISSION_ENDS


# ---------------------------------------------------------------- the join


fact_lists = st.lists(facts, min_size=1, max_size=7)


@settings(max_examples=150)
@given(fact_lists, st.data())
def test_any_order_and_duplication_of_facts_ends_in_the_same_state(told_facts, data):
    """Facts in any order, any of them repeated, make the same request and submission."""
    again = data.draw(
        st.permutations(told_facts + data.draw(st.lists(st.sampled_from(told_facts))))
    )

    for join in (join_request, join_submission):
        expected, found = folded(join, told_facts), folded(join, again)
        own = {"submission_id": ""} if join is join_submission else {}
        assert expected.model_copy(update=own) == found.model_copy(update=own)


@given(fact_lists)
def test_a_fact_heard_again_changes_nothing(told_facts):
    """A fact that is already in a state changes nothing in it."""
    for join in (join_request, join_submission):
        held = folded(join, told_facts)
        assert [join(held, fact) for fact in told_facts] == [held] * len(told_facts)


@given(fact_lists)
def test_no_fact_lowers_a_rank(told_facts):
    """With each fact that counts, ranks rise or stay."""
    request, submission = None, None
    for fact in told_facts:
        before = (RANK[request.state], SUBMISSION_RANK[submission.state]) if request else (0, 0)
        request, submission = join_request(request, fact), join_submission(submission, fact)
        assert RANK[request.state] >= before[0]
        assert SUBMISSION_RANK[submission.state] >= before[1]


@given(fact_lists)
def test_what_is_derived_can_be_stored(told_facts):
    """Whatever facts tell, what is derived from them is JSON in UTF-8, and survives it."""
    request, submission = folded(join_request, told_facts), folded(join_submission, told_facts)

    assert Request.model_validate_json(request.model_dump_json()) == request
    assert Submission.model_validate_json(submission.model_dump_json()) == submission
    assert len(request.ends) <= 2 * len(ENDS)


def test_no_facts_make_no_request():
    """Without facts there is no request; with some, `join_all` is their join."""
    one, other = told("running"), told("queued", seconds=1)

    assert join_all([]) is None
    assert join_all([one, other]) == join_request(join_request(None, other), one)


# ---------------------------------------------------------------- ends


@pytest.mark.parametrize("one", sorted(ENDS))
@pytest.mark.parametrize("other", sorted(ENDS))
def test_two_ends_are_a_conflict_whichever_came_first(one, other):
    """The higher end stands; two different ones are a conflict, in either order."""
    for pair in ((one, other), (other, one)):
        held = join_all(told(name) for name in pair)
        assert held.state == max(one, other, key=REQUEST_ORDER.index)
        assert held.has_conflict == (one != other)


def test_better_witness_stands_within_a_rank():
    """Of one end told by several, a signed witness stands, then the more credible one."""
    order = [
        Witness.COMMAND,
        Witness.SWEEP,
        Witness.CANCEL,
        Witness.LISTING,
        Witness.STATUS,
        Witness.RESULT,
        Witness.WEBHOOK,
    ]
    held = None
    for witness in order:
        held = join_request(held, told("failed", witness))
        assert held.end.witness is witness
    held = join_request(held, signed("failed", fact_id="0"))

    assert held.end == End(
        state=State.FAILED,
        witness=Witness.WEBHOOK,
        at=NOW,
        signed=True,
        counts=True,
        fact_id="0",
        account="github|1",
    )
    assert not held.has_conflict


def test_earliest_telling_stands_then_the_greater_id():
    """Of one end told twice by one witness the earliest stands, then the greater id."""
    late, early = told("failed", seconds=5), told("failed")
    twin = replace(early, id="~")

    assert join_all([late, early]).end.fact_id == early.id
    assert join_all([late, early]).end.at == NOW
    assert join_all([early, twin, late]).end.fact_id == "~"


def test_unproven_end_is_recorded_and_does_not_stand():
    """An end of an unproven account is kept among the ends and does not stand."""
    held = join_all([told("running"), signed("succeeded", counts=False, account="x|2")])

    assert (held.state, held.end, len(held.ends)) == (State.RUNNING, None, 1)
    assert held.accounts == ("x|2",)
    assert not held.has_conflict
    assert not held.is_open


@pytest.mark.parametrize("witness", [Witness.SUBMIT, Witness.LISTING])
def test_our_own_request_makes_unproven_ends_count(witness):
    """A request id that fal gave us over our own key makes its unproven ends stand."""
    unproven = [signed("succeeded", counts=False), signed("failed", counts=False, fact_id="v")]

    held = join_all([*unproven, told("submitted", witness)])

    assert (held.state, held.is_ours, held.has_conflict) == (State.SUCCEEDED, True, True)


@pytest.mark.parametrize("witness", [Witness.TOKEN, Witness.COMMAND])
def test_a_claim_of_others_does_not_make_it_ours(witness):
    """A token or a track command tracks a request without making its unproven ends stand."""
    held = join_all([signed("succeeded", counts=False), told("tracked", witness)])

    assert (held.state, held.is_tracked, held.is_ours) == (State.SUBMITTED, True, False)


# ---------------------------------------------------------------- what is open


LOST = Published(revision=1, outcome="lost", witness="sweep")


@pytest.mark.parametrize(
    "held, is_open",
    [
        (join_all([told("running")]), False),
        (join_all([told("submitted", Witness.SUBMIT)]), True),
        (join_all([told("tracked", Witness.COMMAND)]), True),
        (join_all([signed("unreadable")]), True),
        (join_all([signed("unreadable", counts=False)]), False),
        (join_all([told("failed")]), True),
        (join_all([told("lost")]).model_copy(update={"result": LOST}), False),
        (join_all([told("failed")]).model_copy(update={"result": LOST}), True),
    ],
)
def test_request_is_open_until_its_result_is_out(held, is_open):
    """Work remains while a wanted request has no end, or its end no result of its rank."""
    assert held.is_open == is_open


def test_highest_revision_stands():
    """Of two results the higher revision stands, whichever came first."""
    second = LOST.model_copy(update={"revision": 2, "outcome": "failed"})

    assert join_published(None, LOST) == LOST
    assert join_published(LOST, second) == second
    assert join_published(second, LOST) == second


def test_a_result_is_joined_like_a_fact():
    """Of two result events the higher revision stands, whichever came first."""
    request = Request(request_id="r", first_at=NOW, last_at=NOW)
    first = Published(revision=1, outcome="failed", witness="result")
    second = Published(revision=2, outcome="succeeded", witness="webhook")
    later = NOW + timedelta(seconds=5)

    forth = join_result(join_result(request, first, NOW), second, later)
    back = join_result(join_result(request, second, later), first, NOW)

    assert (second, later) == (forth.result, forth.last_at)
    assert forth == back
