"""Decisions about time and trouble, at their edges."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.fact import FactName, Witness
from consumer.core.policy import (
    ACCOUNT_REASONS,
    ALARM_NOT_FOUND,
    MAX_WAITS,
    DeadLetter,
    Policies,
    RetryAt,
    check_at,
    end_of_not_found,
    is_alarming,
    next_check_gap,
    outcome_of_error,
    retry_gap,
)
from consumer.core.standing import End, Published, Request, State
from consumer.errors import (
    ConfigError,
    ConsumerError,
    FalRefused,
    FalUnavailable,
    InvariantBroken,
    KeysUnavailable,
    LedgerUnavailable,
    LogUnavailable,
    RecordRefused,
    SchemaDrift,
    UndecodableEvent,
    UnsupportedVersion,
)
from tests.core.strategies import NOW

POLICIES = Policies()
TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


def request(**fields) -> Request:
    return Request(request_id="r", first_at=NOW, last_at=NOW, **{"is_tracked": True} | fields)


def ended(state=State.FAILED, **fields) -> Request:
    end = End(state=state, witness=Witness.WEBHOOK, at=NOW, signed=True, counts=True, fact_id="f")
    return request(ends=(end,), **fields)


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    "kind", [FalUnavailable, KeysUnavailable, LedgerUnavailable, LogUnavailable]
)
def test_the_worlds_fault_is_tried_again(kind):
    """What is unavailable is tried again after the gap of its attempt, under its code."""
    outcome = outcome_of_error(kind("down"), attempt=3, now=NOW, policies=POLICIES)

    assert outcome == RetryAt(NOW + 4 * SECOND, kind.code)


@pytest.mark.parametrize(
    "retry_after_s, seconds", [(0, 4), (3.9, 4), (4.5, 4.5), (3600, 3600), (1e12, 3600)]
)
def test_a_named_wait_is_kept_within_an_hour(retry_after_s, seconds):
    """The other side's wish lengthens the wait, up to an hour."""
    error = FalUnavailable("busy", retry_after_s=retry_after_s)

    outcome = outcome_of_error(error, attempt=3, now=NOW, policies=POLICIES)

    assert outcome == RetryAt(NOW + seconds * SECOND, "fal_unavailable")


@pytest.mark.parametrize(
    "error",
    [
        UndecodableEvent("data", "not JSON"),
        UnsupportedVersion("x.v9"),
        FalRefused(422, "no"),
        SchemaDrift("status", "no status", b"secret"),
        RecordRefused("results", "too large"),
    ],
    ids=lambda error: error.code,
)
def test_what_will_not_get_better_is_set_aside(error):
    """A fault that trying again cannot mend is a dead letter with its code and sentence."""
    outcome = outcome_of_error(error, attempt=1, now=NOW, policies=POLICIES)

    assert outcome == DeadLetter(error.code, str(error))
    assert "secret" not in outcome.problem


@pytest.mark.parametrize("reason", sorted(ACCOUNT_REASONS))
def test_a_refusal_for_the_accounts_sake_waits_and_has_an_end(reason):
    """A key, a lock or a rate is somebody's to mend: waited for, about a day, then set aside."""
    error = FalRefused(401, reason)

    first = outcome_of_error(error, attempt=1, now=NOW, policies=POLICIES)
    last = outcome_of_error(error, attempt=MAX_WAITS, now=NOW, policies=POLICIES)

    assert first == RetryAt(NOW + SECOND, reason)
    assert last == DeadLetter("fal_refused", str(error))


@pytest.mark.parametrize("error", [InvariantBroken("x"), ConfigError(["x"]), ConsumerError()])
def test_our_own_fault_is_raised(error):
    """Our own mistake is no outcome of a record."""
    with pytest.raises(type(error)) as raised:
        outcome_of_error(error, attempt=1, now=NOW, policies=POLICIES)

    assert raised.value is error


def test_retries_double_up_to_the_longest():
    """Waits double from one second to five minutes, from the first attempt on."""
    gaps = [retry_gap(attempt, POLICIES) / SECOND for attempt in range(12)]

    assert gaps == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.integers(-(10**9), 10**18))
def test_no_attempt_overflows(attempt):
    """However often something was tried, there is a wait within the longest."""
    assert SECOND <= retry_gap(attempt, POLICIES) <= POLICIES.max_retry_gap
    for has_callback in (True, False):
        gap = next_check_gap(request(has_callback=has_callback), attempt, POLICIES)
        assert SECOND <= gap <= POLICIES.max_check_gap


# ---------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "asked, seconds",
    [
        (request(), 1),
        (request(has_callback=True), 60),
        (request(unreadable_at=NOW, has_callback=True), 0),
        (request(is_tracked=False, unreadable_at=NOW), 0),
        (ended(), 60),
        (ended(unreadable_at=NOW), 60),
        (request(is_tracked=False), None),
        (ended(result=Published(revision=1, outcome="failed", witness="w")), None),
        (ended(result=Published(revision=1, outcome="lost", witness="w")), 60),
    ],
)
def test_first_check(asked, seconds):
    """A request is first looked at by what is known of it; one that is settled never."""
    expected = None if seconds is None else NOW + seconds * SECOND

    assert check_at(asked, NOW, POLICIES) == expected


@pytest.mark.parametrize(
    "has_callback, seconds",
    [(False, [1, 2, 4, 8, 16, 32, 60, 60]), (True, [60, 120, 240, 240, 240, 240, 240, 240])],
)
def test_checks_become_rarer(has_callback, seconds):
    """Checks double to a minute without a callback, from one to four minutes with one."""
    asked = request(has_callback=has_callback)

    gaps = [next_check_gap(asked, attempt, POLICIES) / SECOND for attempt in range(8)]

    assert gaps == seconds


def test_checks_of_stored_payloads_become_rarer_still():
    """Where fal stores the payload nothing expires: checks come down to two an hour."""
    asked = request(has_callback=True, keeps_payload=True)

    gaps = [next_check_gap(asked, attempt, POLICIES) / SECOND for attempt in range(8)]

    assert gaps == [60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_a_learned_wait_stands_for_the_default():
    """The first check comes after the wait that is given, where there is no end yet."""
    at = NOW + 7 * SECOND

    assert check_at(request(has_callback=True), NOW, POLICIES, 7 * SECOND) == at
    assert check_at(ended(), NOW, POLICIES, 7 * SECOND) == NOW + POLICIES.settle_after


def test_checks_keep_within_the_longest_gap():
    """A longest gap below the first check bounds requests without a callback too."""
    short = Policies(max_check_gap=timedelta(seconds=10))

    assert next_check_gap(request(), 20, short) == timedelta(seconds=10)


# ---------------------------------------------------------------- unknown ids


@pytest.mark.parametrize(
    "asked, end",
    [
        (request(), None),
        (request(not_found_last_at=NOW), None),
        (request(not_found_last_at=NOW - timedelta(minutes=5) + TICK), None),
        (request(not_found_last_at=NOW - timedelta(minutes=5)), FactName.LOST),
        (
            request(
                not_found_last_at=NOW - timedelta(hours=1), known_last_at=NOW - timedelta(minutes=9)
            ),
            None,
        ),
        (request(cancel_asked_at=NOW), FactName.CANCELLED),
        (
            request(cancel_asked_at=NOW, not_found_last_at=NOW - timedelta(hours=1)),
            FactName.CANCELLED,
        ),
    ],
)
def test_not_found_means_lost_when_told_twice(asked, end):
    """An unknown id is lost when that was told five minutes apart; after a cancel, cancelled."""
    assert end_of_not_found(asked, NOW, POLICIES) == end


@pytest.mark.parametrize(
    "not_found, asked, expected",
    [
        (ALARM_NOT_FOUND, ALARM_NOT_FOUND, True),
        (ALARM_NOT_FOUND - 1, ALARM_NOT_FOUND - 1, False),
        (10, 19, True),
        (10, 20, False),
        (500, 1000, False),
        (0, 0, False),
    ],
)
def test_many_unknown_ids_are_an_alarm(not_found, asked, expected):
    """Ten unknown ids that are most of a round point at a wrong key or address."""
    assert is_alarming(not_found, asked) == expected
