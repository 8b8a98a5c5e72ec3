"""
How fast a host may be asked: learned from its refusals, shared by every call to it.

Additive increase, multiplicative decrease. No pace is kept until a host answers 429. Then
the rate becomes what the host took while calls were waiting, a little less; each further
429 cuts it again. Calls that were taken raise it: quickly until a second refusal shows
where the limit is, slowly near the rate that was refused, quickly again well beyond it, so
that a lifted limit is noticed. Processes that share a limit settle below it together, for
each is cut when they exceed it.

Times are monotonic seconds, rates calls per second. fal publishes no limit (fal docs, "Rate
limits", 2026): the numbers here are ours, tried against buckets and windows in
`tests/core/test_pace.py`.
"""

from dataclasses import dataclass

MIN_RATE = 0.05
# One call in twenty seconds: below that a host is not limited, it is down.
_FIRST_RATE = 1.0  # at least, where the first refusal comes before there is much to measure
MAX_RATE = 1000.0  # above that no pace is kept
_MARGIN = 0.95  # of what was taken: the next refusal is to be far away
_LEAST_CUT = 0.92
_DEEPEST_CUT = 0.7
_FAIR_SAMPLE = 5  # calls taken from which a first guess is near enough
_SURE_SAMPLE = 20  # calls taken from which a measured rate is believed, however low
_SEARCH_GAIN = 0.4  # of the rate, each second, while the limit is looked for
_NEAR_GAIN = 0.0007  # of the rate, each call, near the rate that was refused,
_NEAR_GAIN_PER_S = 0.007  # and no more than this each second
_NEAR = 0.93  # of the refused rate: up to there it comes back quickly
_RETURN = 0.03  # of the distance to there, each call
_BEYOND = 1.1
_MIN_SPAN_S = 1.0
_SHORT_PAUSE_S = 5.0
FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 20.0
_MAX_GAP_S = 1.0
_SLACK_S = 0.05  # a timer that fires late must not slow the pace


@dataclass(slots=True)
class Pace:
    """
    The pace towards one host. `rate` is None while none is needed.

    `first_pause_s`: after a refusal that names no time to come back; doubles while nothing
    is taken.
    """

    first_pause_s: float = FIRST_PAUSE_S
    rate: float | None = None
    refused_rate: float | None = None
    closed_until: float = 0.0
    next_at: float = 0.0
    _cut_at: float = float("-inf")
    _started_at: float | None = None
    _busy_s: float = 0.0
    _taken: int = 0
    _raised_at: float = 0.0
    _is_wanted: bool = False
    _refusals: int = 0

    def wait_s(self, now: float) -> float:
        """Return how long the next call has to wait, 0 where it may be sent."""
        until = self.closed_until if self.rate is None else max(self.closed_until, self.next_at)
        return max(0.0, until - now)

    def start(self, now: float, *, has_waited: bool) -> None:
        """Take the turn of a call that is sent now. `has_waited`: it would have come earlier."""
        gap = 0.0 if self._started_at is None else now - self._started_at
        self._busy_s += gap if has_waited else min(gap, _MAX_GAP_S)
        self._started_at = now
        self._is_wanted = has_waited
        if self.rate is not None:
            self.next_at = max(self.next_at, now - _SLACK_S) + 1 / self.rate

    def accept(self, now: float) -> None:
        """Take note of a call that the host took, whatever it answered."""
        self._taken += 1
        self._refusals = 0
        span = min(max(now - self._raised_at, 0.0), _MAX_GAP_S)
        self._raised_at = now
        if self.rate is None or not self._is_wanted:
            return
        self.rate += self._gain(self.rate, span)
        if self.rate >= MAX_RATE:
            self.rate = None

    def _gain(self, rate: float, span: float) -> float:
        """Return what one taken call adds to the rate, `span` after the one before it."""
        if self.refused_rate is None or rate > _BEYOND * self.refused_rate:
            return rate * max(span * _SEARCH_GAIN, _NEAR_GAIN)
        near = rate * min(_NEAR_GAIN, span * _NEAR_GAIN_PER_S)
        return max(near, _RETURN * (_NEAR * self.refused_rate - rate))

    def refuse(
        self, sent_at: float, now: float, retry_after_s: float | None, jitter: float
    ) -> None:
        """
        Take note of a 429 to a call of `sent_at`. `jitter` is a random number of [0, 1).

        Calls that were under way at the last cut do not cut again, but a time to come back
        that they name counts. A refusal with nothing taken since the last one tells nothing
        of the rate: the host is closed, and the pause grows.
        """
        is_news = sent_at > self._cut_at
        if retry_after_s is None and is_news:
            self._refusals += 1
            pause_s = min(self.first_pause_s * 2 ** min(self._refusals - 1, 10), _MAX_PAUSE_S)
            pause_s *= 0.5 + jitter / 2
        else:
            pause_s = retry_after_s or 0.0
        self.closed_until = max(self.closed_until, now + pause_s)
        if not is_news:
            return
        self._cut_at = now
        if self._taken or self.rate is None:
            self._cut(pause_s if retry_after_s is not None else 0.0)
        self._raised_at = self.next_at = self.closed_until

    def _cut(self, pause_s: float) -> None:
        """
        Set the rate to what was taken. A long pause that the host named ends its window, and is
        part of the time in which it took so many.
        """
        window_s = pause_s if pause_s > _SHORT_PAUSE_S else 0.0
        measured = _MARGIN * self._taken / max(self._busy_s + window_s, _MIN_SPAN_S)
        if self.rate is None:
            rate = max(measured, _FIRST_RATE)
            if self._taken >= _FAIR_SAMPLE:
                self.refused_rate = rate / _MARGIN
        else:
            # While the rate was searched for it rose all the time: what was taken in all of it
            # says little of the end, unless the host named the end of its window.
            is_told = self.refused_rate is not None or window_s > 0
            is_sure = is_told and self._taken >= _SURE_SAMPLE
            self.refused_rate = self.rate
            deepest = _DEEPEST_CUT * self.rate
            rate = _LEAST_CUT * self.rate if measured >= deepest else deepest
            if measured < deepest and is_sure:
                rate = measured
        self.rate = min(max(rate, MIN_RATE), MAX_RATE)
        self._taken, self._busy_s, self._started_at = 0, 0.0, self._cut_at + pause_s
