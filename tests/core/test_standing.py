"""Where things stand, as values: which end counts, what is open, what is in conflict."""

from datetime import UTC, datetime, timedelta

from consumer.core.fact import Witness
from consumer.core.standing import End, Published, Request, State, end_key

AT = datetime(2026, 7, 16, tzinfo=UTC)


def _end(state, *, counts=True, signed=False, witness=Witness.RESULT, after_s=0):
    at = AT + timedelta(seconds=after_s)
    return End(
        state=state, witness=witness, at=at, signed=signed, counts=counts, fact_id=f"f{after_s}"
    )


def _request(*ends, **changes):
    return Request(request_id="r", first_at=AT, last_at=AT, ends=ends, **changes)


def test_the_highest_end_that_counts_stands():
    """Of several ends the highest that counts is the state; an unproven one is not."""
    request = _request(
        _end(State.CANCELLED), _end(State.FAILED), _end(State.SUCCEEDED, counts=False)
    )

    assert (State.FAILED, True) == (request.state, request.has_conflict)


def test_an_end_counts_once_fal_gave_us_the_request():
    """A request that fal gave us over our own key needs no configured account."""
    unproven = _end(State.SUCCEEDED, counts=False)

    assert [State.SEEN, State.SUCCEEDED] == [
        _request(unproven, is_ours=is_ours).state for is_ours in (False, True)
    ]


def test_a_request_is_open_until_its_end_has_a_result():
    """Open: tracked without an end, an end without a result, a result that is outranked."""
    failed = Published(revision=1, outcome="failed", witness="result")

    assert [False, True, True, True, False, True] == [
        _request().is_open,
        _request(is_tracked=True).is_open,
        _request(unreadable_at=AT).is_open,
        _request(_end(State.FAILED)).is_open,
        _request(_end(State.FAILED), result=failed).is_open,
        _request(_end(State.SUCCEEDED), result=failed).is_open,
    ]


def test_ends_are_ordered_by_rank_signature_credibility_and_age():
    """A signed fact comes first within a rank, then the better witness, then the earlier one."""
    worst_first = [
        _end(State.LOST, witness=Witness.SWEEP),
        _end(State.SUCCEEDED, witness=Witness.STATUS),
        _end(State.SUCCEEDED, witness=Witness.RESULT, after_s=9),
        _end(State.SUCCEEDED, witness=Witness.RESULT),
        _end(State.SUCCEEDED, witness=Witness.WEBHOOK, signed=True),
    ]

    best_first = list(reversed(worst_first))

    assert worst_first == sorted(best_first, key=end_key)


def test_fals_last_word_tells_whether_it_knows_the_request():
    """Unknown: NOT_FOUND was said, and no status after it."""
    later = AT + timedelta(minutes=1)

    assert [False, True, True, False] == [
        _request().is_unknown,
        _request(not_found_last_at=AT).is_unknown,
        _request(not_found_last_at=later, known_last_at=AT).is_unknown,
        _request(not_found_last_at=AT, known_last_at=later).is_unknown,
    ]
