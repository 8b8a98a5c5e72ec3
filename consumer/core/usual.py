"""
How long the jobs of an endpoint usually take, learned from those that ended.

A request that awaits its webhook is first asked about when the webhook should have come.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from consumer.core.policy import Policies
from consumer.core.standing import Request

MIN_SAMPLES = 10
# Fewer say nothing: then the default stands.
_EARLY, _LATE = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Usual:
    """What nine of ten jobs of an endpoint take at least, and at most."""

    early: timedelta
    late: timedelta


def learn(requests: Iterable[Request]) -> dict[str, Usual]:
    """
    Return what is usual, by endpoint, for endpoints with enough ends.

    Only ends that fal's own webhook told count: an end that was found by asking is as late as
    the question was, and learning from it would make every next question later.
    """
    took: dict[str, list[timedelta]] = defaultdict(list)
    for request in requests:
        end = request.end
        if end is None or not end.signed or not request.has_callback or request.endpoint is None:
            continue
        span = end.at - request.first_at
        if span > timedelta(0):  # one that is known by its webhook alone began before that
            took[request.endpoint.value].append(span)
    return {
        endpoint: Usual(_quantile(spans, _EARLY), _quantile(spans, _LATE))
        for endpoint, spans in took.items()
        if len(spans) >= MIN_SAMPLES
    }


def first_gap(request: Request, usual: Mapping[str, Usual], policies: Policies) -> timedelta:
    """
    Return the wait before a request is first asked about.

    After a quarter more than nine of ten take. Unless its payload is known to be stored at
    fal, never later than the longest gap after the earliest end that is usual: fal then keeps
    a result of 10 KB or more for 6 minutes only (fal docs, "Queue", 2026-10).
    """
    if not request.has_callback:
        return policies.first_check_without_callback
    found = usual.get(request.endpoint.value) if request.endpoint else None
    if found is None:
        return policies.first_check
    gap = found.late * 1.25
    if not request.keeps_payload:
        gap = min(gap, found.early + policies.max_check_gap)
    return min(max(gap, policies.min_first_check), policies.max_first_check)


def _quantile(spans: list[timedelta], share: float) -> timedelta:
    ordered = sorted(spans)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
