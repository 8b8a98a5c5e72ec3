"""
What the account's requests cost over HTTP: usage, billing events, what is left. For ADMIN keys.

All of it lags behind the requests, as at fal: no event yet does not mean free.
Source: fal docs, Platform APIs, usage, billing events and account (read 2026-10-07).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from consumer.simulator.asked import DEFAULT_RANGE, LONG_RANGE, iso, paged
from consumer.simulator.catalog import offer_of
from consumer.simulator.config import SimulatorConfig
from consumer.simulator.jobqueue import JobQueue
from consumer.simulator.jobs import Job
from consumer.simulator.platform_bodies import (
    AccountBody,
    Attributed,
    BillingEvent,
    BillingEventsBody,
    UsageBody,
    UsageRow,
)
from consumer.simulator.platform_queries import (
    AccountQuery,
    BillingQuery,
    Timeframe,
    UsageQuery,
)

_UNTAGGED = "(untagged)"
# The step for a range up to this long. Source: fal docs, Platform APIs, dates (read 2026-10-07).
_STEPS: tuple[tuple[timedelta, Timeframe], ...] = (
    (timedelta(hours=2), "minute"),
    (timedelta(days=2), "hour"),
    (timedelta(days=64), "day"),
    (timedelta(days=183), "week"),
)
_FIRST, _LAST = 0.0, 32_503_680_000.0  # 1970 to 3000: what every step can be computed in
_Body = TypeVar("_Body", BillingEvent, UsageRow)


@dataclass(frozen=True, slots=True)
class SpendingApi:
    """The handlers about money."""

    config: SimulatorConfig
    queue: JobQueue
    now: Callable[[], float]

    def billing_events(self, query: BillingQuery) -> BillingEventsBody:
        """Return a page of the billed requests, the latest first."""
        span = query.span(self.now(), DEFAULT_RANGE, LONG_RANGE)
        jobs = self._billed(query, span, query.request_id)
        page, cursor = paged(jobs, query.page, query.limit)
        is_tagged = query.source == "tagged-billed"
        return {
            "billing_events": [
                _attributed(_event(job), job, query.expand, is_tagged=is_tagged) for job in page
            ],
            "next_cursor": cursor,
            "has_more": cursor is not None,
        }

    def usage(self, query: UsageQuery) -> UsageBody:
        """Return cost by endpoint, in steps of time or in all."""
        start, end = query.span(self.now(), DEFAULT_RANGE)
        start, end = max(_FIRST, start), min(_LAST, end)
        zone = ZoneInfo(query.timezone)
        frame = query.timeframe or _timeframe(min(end, self.now()) - start)
        if query.bound_to_timeframe == "true":
            start = _bucket(start, frame, zone).timestamp()
        jobs = list(self._billed(query, (start, end)))
        body: UsageBody = {"next_cursor": None, "has_more": False}
        if "summary" in query.expand:
            body["summary"] = _rows(jobs, query)
        if "time_series" in query.expand:
            buckets: defaultdict[datetime, list[Job]] = defaultdict(list)
            for job in jobs:
                buckets[_bucket(job.ended_at or 0.0, frame, zone)].append(job)
            page, body["next_cursor"] = paged(sorted(buckets), query.page, query.limit)
            body["has_more"] = body["next_cursor"] is not None
            body["time_series"] = [
                {"bucket": bucket.isoformat(), "results": _rows(buckets[bucket], query)}
                for bucket in page
            ]
        return body

    def account(self, query: AccountQuery) -> AccountBody:
        """Return who the account is and, if asked, what is left on it."""
        body: AccountBody = {"username": self.config.account.rpartition("|")[2]}
        if "credits" in query.expand:
            jobs = self.queue.by_end(self.queue.endpoints())
            spent = sum(_units(job) * _price(job) for job in jobs)
            body["credits"] = {
                "current_balance": self.config.balance_usd - spent,
                "currency": "USD",
            }
        return body

    def _billed(
        self,
        query: BillingQuery | UsageQuery,
        span: tuple[float, float],
        request_ids: Iterable[str] = (),
    ) -> Iterator[Job]:
        start, end = span
        end = min(end, self.now() - self.config.billing_lag_s * self.config.time_scale)
        jobs: Iterable[Job]
        if request_ids:
            found = (self.queue.find(request_id) for request_id in request_ids)
            jobs = [job for job in found if job is not None]
        else:
            jobs = self.queue.by_end(query.endpoint_id or self.queue.endpoints())
        for job in jobs:
            if _units(job) and start <= (job.ended_at or 0.0) < end and _is_asked(job, query):
                yield job


def _is_asked(job: Job, query: BillingQuery | UsageQuery) -> bool:
    return (
        (not query.endpoint_id or job.order.endpoint in query.endpoint_id)
        and (not query.api_key_id or job.order.api_key_id in query.api_key_id)
        and not query.login_username  # every call here is by key, none by login
        and _has_tags(job, query.tag)
    )


def _has_tags(job: Job, pairs: Iterable[str]) -> bool:
    """Different keys must all match, of one key any value; `(untagged)` is to lack the key."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        key, _, value = pair.partition("=")
        wanted[key].add(value)
    tags = job.order.tags_by_key
    return all(tags.get(key, _UNTAGGED) in values for key, values in wanted.items())


def _units(job: Job) -> float:
    return 0.0 if job.ending is None else job.ending.billable_units


def _price(job: Job) -> float:
    return offer_of(job.order.endpoint).unit_price


def _event(job: Job) -> BillingEvent:
    cost = _units(job) * _price(job)
    return {
        "request_id": job.request_id,
        "endpoint_id": job.order.endpoint,
        "timestamp": iso(job.ended_at or 0.0),
        "output_units": _units(job),
        "unit_price": _price(job),
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0.0,
        "cost_total": cost,
        "cost_estimate_nano_usd": round(cost * 1_000_000_000),
    }


def _attributed(body: _Body, job: Job, expand: Iterable[str], *, is_tagged: bool) -> _Body:
    """Return the body with whom it is put down to, as far as that was asked for."""
    found: Attributed = {}
    if "auth_method" in expand:
        found["auth_method"] = "api_key"
    if "auth_method_structured" in expand:
        found["auth_method_structured"] = {
            "detail": "api_key",
            "api_key_id": job.order.api_key_id,
        }
    if is_tagged:
        found["tags"] = job.order.tags_by_key
    body.update(found)  # type: ignore[typeddict-item]  # both bodies are `Attributed` too
    return body


def _rows(jobs: list[Job], query: UsageQuery) -> list[UsageRow]:
    """Return one row for each endpoint, and for each caller and set of tags where asked for."""
    is_tagged = query.source == "tagged-estimate"
    grouped: defaultdict[tuple[str, str, str], list[Job]] = defaultdict(list)
    for job in jobs:
        by_key = any(word.startswith("auth_method") for word in query.expand)
        caller, tags = job.order.api_key_id, job.order.tags or ""
        key = (job.order.endpoint, caller if by_key else "", tags if is_tagged else "")
        grouped[key].append(job)
    return [
        _attributed(_row(group), group[0], query.expand, is_tagged=is_tagged)
        for _key, group in sorted(grouped.items())
    ]


def _row(jobs: list[Job]) -> UsageRow:
    offer = offer_of(jobs[0].order.endpoint)
    quantity = sum(_units(job) for job in jobs)
    cost = quantity * offer.unit_price
    return {
        "endpoint_id": offer.endpoint_id,
        "unit": offer.unit,
        "quantity": quantity,
        "unit_price": offer.unit_price,
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0.0,
        "cost_total": cost,
        "cost": cost,
        "currency": "USD",
    }


def _timeframe(seconds: float) -> Timeframe:
    for longest, frame in _STEPS:
        if seconds < longest.total_seconds():
            return frame
    return "month"


def _bucket(instant: float, frame: Timeframe, zone: ZoneInfo) -> datetime:
    """Return the beginning of the step that this instant (unix seconds) lies in."""
    moment = datetime.fromtimestamp(instant, zone).replace(microsecond=0, second=0)
    if frame == "minute":
        return moment
    moment = moment.replace(minute=0)
    if frame == "hour":
        return moment
    moment = moment.replace(hour=0)
    if frame == "week":
        return moment - timedelta(days=moment.weekday())
    return moment.replace(day=1) if frame == "month" else moment
