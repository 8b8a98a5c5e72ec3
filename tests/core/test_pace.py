"""The pace, played against limits of several kinds in a time of its own: nothing here sleeps."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import ceil, floor, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.core.pace import MAX_RATE, MIN_RATE, Pace

FIRST_SECONDS = 4.0
SLOTS = 32


@dataclass
class Bucket:
    """Takes `rate` calls a second, and `burst` at once."""

    rate: float
    burst: float
    hint_s: float | None = None
    tokens: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def refuses(self, now: float) -> tuple[bool, float | None]:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return True, self.hint_s
        self.tokens -= 1
        return False, None


@dataclass
class Window:
    """Takes `calls` in each window; a refusal names its end in whole seconds, or nothing."""

    calls: int
    span_s: float
    has_hint: bool = True
    number: int = -1
    taken: int = 0

    def refuses(self, now: float) -> tuple[bool, float | None]:
        number = floor(now / self.span_s)
        if number != self.number:
            self.number, self.taken = number, 0
        if self.taken < self.calls:
            self.taken += 1
            return False, None
        left = ceil((number + 1) * self.span_s - now)
        return True, float(max(1, left)) if self.has_hint else None


@dataclass
class Played:
    """What came of a game: seconds until all was taken, and calls after the first seconds."""

    seconds: float = 0.0
    late_calls: int = 0
    late_refusals: int = 0
    rates: list[float | None] = field(default_factory=list)

    @property
    def late_share(self) -> float:
        """The part of the late calls that were refused."""
        return self.late_refusals / max(self.late_calls, 1)


@dataclass
class Caller:
    """One process: its pace, its free places, and when it looks again."""

    pace: Pace = field(default_factory=Pace)
    free: int = SLOTS
    has_waited: bool = False
    looks_at: float = inf


class Game:
    """Processes that share the work of many calls, all wanted at once."""

    def __init__(self, limit, calls: int, processes: int, latency_s: float) -> None:
        self.limit, self.latency_s = limit, latency_s
        self.todo = self.left = calls
        self.callers = [Caller() for _ in range(processes)]
        self.chance, self.order = random.Random(1), count()
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.played = Played()

    def play(self) -> Played:
        self.look(0.001)
        while self.left:
            self.played.seconds, _, what = heapq.heappop(self.events)
            what(self.played.seconds)
        self.played.rates = [caller.pace.rate for caller in self.callers]
        return self.played

    def at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def look(self, now: float) -> None:
        for caller in self.callers:
            while self.todo and caller.free and self.may_send(caller, now):
                self.send(caller, now)

    def may_send(self, caller: Caller, now: float) -> bool:
        wait_s = caller.pace.wait_s(now)
        if wait_s <= 0:
            return True
        caller.has_waited = True
        if caller.looks_at <= now or now + wait_s < caller.looks_at:
            caller.looks_at = now + wait_s
            self.at(now + wait_s, self.look)
        return False

    def send(self, caller: Caller, now: float) -> None:
        caller.pace.start(now, has_waited=caller.has_waited)
        caller.has_waited = False
        self.todo -= 1
        caller.free -= 1
        arrives_at = now + self.latency_s * self.chance.uniform(0.5, 1.5) / 2
        self.at(arrives_at, lambda then: self.arrive(caller, now, then))

    def arrive(self, caller: Caller, sent_at: float, now: float) -> None:
        answer = self.limit.refuses(now)
        self.at(now + self.latency_s / 2, lambda then: self.learn(caller, sent_at, answer, then))

    def learn(self, caller, sent_at, answer, now: float) -> None:
        is_refused, hint_s = answer
        caller.free += 1
        if now > FIRST_SECONDS:
            self.played.late_calls += 1
            self.played.late_refusals += is_refused
        if is_refused:
            self.todo += 1
            caller.pace.refuse(sent_at, now, hint_s, self.chance.random())
        else:
            self.left -= 1
            caller.pace.accept(now)
        self.look(now)


def play(limit, calls: int, *, processes: int = 1, latency_s: float = 0.03) -> Played:
    """Return what comes of a game of so many calls under a limit."""
    return Game(limit, calls, processes, latency_s).play()


LIMITS = {
    "bucket": lambda: Bucket(10, 10),
    "bucket that names a second": lambda: Bucket(10, 10, 1.0),
    "window of a second": lambda: Window(10, 1.0),
    "window that names nothing": lambda: Window(10, 1.0, has_hint=False),
}


@pytest.mark.parametrize("latency_s", [0.005, 0.2])
@pytest.mark.parametrize("kind", LIMITS)
def test_one_process_settles_below_a_limit(kind, latency_s):
    """Of 400 calls under 10 a second all are taken, within 1.2 of the ideal and 5 % of 429s."""
    played = play(LIMITS[kind](), 400, latency_s=latency_s)

    assert played.seconds <= 1.2 * 400 / 10
    assert played.late_share <= 0.05


@pytest.mark.parametrize("kind", LIMITS)
def test_a_fleet_settles_below_a_shared_limit(kind):
    """Four processes that know nothing of each other keep within the limit that they share."""
    played = play(LIMITS[kind](), 2000, processes=4)

    assert played.seconds <= 1.2 * 2000 / 10
    assert played.late_share <= 0.05


def test_the_end_of_a_window_that_fal_names_is_the_measure():
    """Of a window of a minute, as fal documents it, hardly any call is refused in vain."""
    played = play(Window(120, 60.0), 1200)

    assert played.seconds <= 1.2 * 1200 / 2
    assert played.late_share <= 0.05


def test_a_lifted_limit_is_noticed():
    """Where nothing is refused any more, the pace rises until none is kept."""
    pace = Pace()
    now = 1.0
    pace.start(now, has_waited=False)
    pace.refuse(now, now, None, 0.5)
    assert pace.rate is not None

    while pace.rate is not None:
        assert now < 60
        now += pace.wait_s(now)
        pace.start(now, has_waited=True)
        pace.accept(now)


def test_calls_under_way_cut_once():
    """Thirty refusals of one burst cut the rate once; the latest time that is named counts."""
    pace = Pace()
    for _ in range(30):
        pace.start(1.0, has_waited=False)
    pace.refuse(1.0, 1.1, 2.0, 0.5)
    rate = pace.rate

    for _ in range(29):
        pace.refuse(1.0, 1.2, 3.0, 0.5)

    assert rate == pace.rate
    assert pace.wait_s(1.2) == pytest.approx(3.0)


def test_an_unlimited_host_is_never_waited_for():
    """Before a refusal no call waits, however many there are."""
    pace = Pace()
    for number in range(1000):
        assert pace.wait_s(number / 1e4) == 0
        pace.start(number / 1e4, has_waited=False)
        pace.accept(number / 1e4)

    assert pace.rate is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "accept", "refuse"]),
            st.floats(0, 100),
            st.none() | st.floats(0, 3600),
            st.floats(0, 1, exclude_max=True),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_the_pace_stays_within_its_bounds(steps):
    """Whatever comes in whatever order, the rate has its bounds and no wait is endless."""
    pace, now = Pace(), 0.0
    for what, later, hint_s, jitter, has_waited in steps:
        now += later
        if what == "start":
            pace.start(now, has_waited=has_waited)
        elif what == "accept":
            pace.accept(now)
        else:
            pace.refuse(now - later / 2, now, hint_s, jitter)

        assert pace.rate is None or MIN_RATE <= pace.rate <= MAX_RATE
        assert 0 <= pace.wait_s(now) <= 3600 + 60 / MIN_RATE
