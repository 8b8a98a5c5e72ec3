"""
The ledger in memory, for tests: plain dictionaries, and every row derived anew each time.

It passes the conformance suite of the real one, and can be told to fail.
"""

import itertools
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from consumer.core.event import NewRecord
from consumer.core.fact import Fact
from consumer.core.lifecycle import is_bound
from consumer.core.projection import Entry, Evidence, KeySetEntry
from consumer.core.standing import Request, State, Submission, SubmissionState
from consumer.core.text import dump_json, parse_json, storable
from consumer.errors import ConsumerError, UndecodableEvent
from consumer.ports import (
    Claim,
    ClaimKind,
    Clock,
    Due,
    Parked,
    Planner,
    Recorded,
    RequestFilter,
    StampKind,
)
from consumer.testing.ledger_keys import MemoryKeys
from consumer.testing.ledger_rows import MAX_SPAN, MemoryRows, Scheduled, storable_entry, touched


class MemoryLedger(MemoryKeys):
    """`ports.Ledger` in dictionaries. `rows` may be looked at; `refuse_next` makes a call fail."""

    def __init__(self, *, plan: Planner, clock: Clock, rows: MemoryRows | None = None) -> None:
        self.rows = rows or MemoryRows()
        self._plan = plan
        self._clock = clock
        self._refusals: deque[ConsumerError] = deque()

    def refuse_next(self, error: ConsumerError, times: int = 1) -> None:
        """Let the next calls, whatever they are, raise `error` and change nothing."""
        self._refusals.extend(itertools.repeat(error, times))

    def _called(self) -> MemoryRows:
        if self._refusals:
            raise self._refusals.popleft()
        return self.rows

    def _derive(self, request_ids: Sequence[str], submission_ids: Sequence[str]) -> None:
        self.rows.derive(request_ids, submission_ids)
        known = [name for name in request_ids if name in self.rows.requests]
        self.rows.keep_schedules(known, self._plan, self._clock())

    # ------------------------------------------------------------ the projection

    async def record(self, entry: Entry) -> Recorded:
        """As the port says."""
        rows, kept = self._called(), storable_entry(entry)
        request_ids, submission_ids = touched(kept)
        conflicted = {name for name in request_ids if rows.has_conflict(name)}
        is_new = rows.keep(kept)
        if is_new:
            self._derive(request_ids, submission_ids)
        now_conflicted = {name for name in request_ids if rows.has_conflict(name)}
        requests = [rows.requests[name] for name in request_ids if name in rows.requests]
        ours = [rows.submissions[name] for name in submission_ids if name in rows.submissions]
        return Recorded(
            is_new,
            requests[0] if requests else None,
            ours[0] if ours else None,
            became_conflicted=now_conflicted > conflicted,
        )

    async def recount(self, accounts: Sequence[str]) -> int:
        """As the port says."""
        rows = self._called()
        unproven = [
            fact for fact in rows.facts.values() if not fact.counts and fact.account in accounts
        ]
        for fact in unproven:
            rows.facts[fact.id] = replace(fact, counts=True)
        for evidence in list(rows.evidence.values()):
            if evidence.user_id in accounts:
                rows.evidence[evidence.id] = replace(evidence, counts=True)
        names = sorted({fact.request_id for fact in unproven if fact.request_id})
        self._derive(names, sorted({f.submission_id for f in unproven if f.submission_id}))
        return len(names)

    async def trim(self, keep: timedelta) -> int:
        """As the port says."""
        return self._called().trim(self._clock() - keep)

    async def request(self, request_id: str) -> Request | None:
        """As the port says."""
        return self._called().requests.get(storable(request_id))

    async def submission(self, submission_id: str) -> Submission | None:
        """As the port says."""
        return self._called().submissions.get(storable(submission_id))

    async def requests(self, wanted: RequestFilter) -> Sequence[Request]:
        """As the port says."""
        rows = self._called()
        found = sorted(
            (request for request in rows.requests.values() if _matches(request, wanted)),
            key=_age,
            reverse=True,
        )
        if wanted.before:
            last = rows.requests.get(storable(wanted.before))
            found = [item for item in found if last is not None and _age(item) < _age(last)]
        return found[: max(wanted.limit, 0)]

    async def submissions(
        self, *, states: Sequence[SubmissionState] = (), limit: int = 100
    ) -> Sequence[Submission]:
        """As the port says."""
        wanted = states or tuple(SubmissionState)
        found = [item for item in self._called().submissions.values() if item.state in wanted]
        return sorted(found, key=lambda item: (item.first_at, item.submission_id))[: max(limit, 0)]

    async def timeline(self, subject: str) -> Sequence[Fact]:
        """As the port says."""
        rows, name = self._called(), storable(subject)
        request_id, submission_id = name, name
        for request in rows.requests.values():
            for submission in rows.submissions.values():
                if is_bound(request, submission):
                    if request.request_id == name:
                        submission_id = submission.submission_id
                    if submission.submission_id == name:
                        request_id = request.request_id
        found = [
            fact
            for fact in rows.facts.values()
            if fact.request_id == request_id or fact.submission_id == submission_id
        ]
        return sorted(found, key=lambda fact: (fact.at, fact.id))

    async def evidence(self, request_id: str) -> Sequence[Evidence]:
        """As the port says."""
        name = storable(request_id)
        found = [item for item in self._called().evidence.values() if item.request_id == name]
        return sorted(found, key=lambda item: (item.received_at, item.id))

    async def result(self, subject: str) -> bytes | None:
        """As the port says."""
        name = storable(subject)
        revisions = [place for place in self._called().results if place[0] == name]
        return self.rows.results[max(revisions)].value if revisions else None

    async def key_sets(self, url: str) -> Sequence[KeySetEntry]:
        """As the port says."""
        found = [item for item in self._called().key_sets.values() if item.url == storable(url)]
        return sorted(found, key=lambda item: (-item.fetched_at.timestamp(), item.sha256))

    async def counts(self) -> Mapping[str, int]:
        """As the port says."""
        rows = self._called()
        found = Counter({state.value: 0 for state in State})
        found.update({f"submission:{state.value}": 0 for state in SubmissionState})
        found.update(request.state.value for request in rows.requests.values())
        found.update(f"submission:{item.state.value}" for item in rows.submissions.values())
        conflicts = sum(request.has_conflict for request in rows.requests.values())
        beside = {"dead_letters": len(rows.dead_letters), "parked": len(rows.parked)}
        return dict(found) | beside | {"conflicts": conflicts}

    # ------------------------------------------------------------ claims

    async def claim(self, claim: Claim) -> Claim:
        """As the port says."""
        kept = replace(claim, key=storable(claim.key), detail=_whole(claim.detail))
        return self._called().claims.setdefault((kept.kind, kept.key, kept.revision), kept)

    async def latest_claim(self, kind: ClaimKind, key: str) -> Claim | None:
        """As the port says."""
        found = [c for c in self._called().claims.values() if (c.kind, c.key) == (kind, key)]
        return max(found, key=lambda claim: claim.revision, default=None)

    async def settle_claim(self, claim: Claim, event: NewRecord, detail: Mapping[str, Any]) -> None:
        """As the port says."""
        claims, place = self._called().claims, (claim.kind, claim.key, claim.revision)
        held = claims.get(place)
        if held is not None and held.event is None:
            claims[place] = replace(held, event=event, detail=_whole(detail))

    async def mark_published(self, claim: Claim) -> None:
        """As the port says."""
        claims, place = self._called().claims, (claim.kind, claim.key, claim.revision)
        held = claims.get(place)
        if held is not None and held.event is not None:
            claims[place] = replace(held, is_published=True)

    async def open_claims(self, kind: ClaimKind, limit: int) -> Sequence[Claim]:
        """As the port says."""
        rows, now = self._called(), self._clock()
        found = [
            claim
            for claim in rows.claims.values()
            if claim.kind is kind
            and not claim.is_published
            and (claim.event is not None or claim.deadline_at <= now)
        ]
        found.sort(key=lambda claim: (claim.claimed_at, claim.key, claim.revision))
        return found[: max(limit, 0)]

    # ------------------------------------------------------------ stamps

    async def stamp(self, kind: StampKind) -> datetime:
        """As the port says."""
        now = self._clock()
        self._called().stamps.add((kind, now))
        return now

    async def stamped_at(self) -> datetime | None:
        """As the port says."""
        return max((at for _, at in self._called().stamps), default=None)

    # ------------------------------------------------------------ schedules

    async def take_due(self, schedule: str, *, limit: int, lease: timedelta) -> Sequence[Due]:
        """As the port says."""
        rows, now = self._called(), self._clock()
        due = sorted(
            (row.due_at, subject)
            for (name, subject), row in rows.schedules.items()
            if name == schedule and _is_due(row.due_at, now) and _is_free(row, now)
        )
        taken = []
        for _, subject in due[: max(limit, 0)]:
            row = rows.schedules[schedule, subject]
            row.fence, row.lease_until = next(rows.fences), now + lease
            taken.append(Due(schedule, subject, row.attempt, row.fence, row.lease_until))
        return taken

    async def put_off(self, due: Due, until: timedelta) -> bool:
        """As the port says."""
        row = self._called().schedules.get((due.schedule, due.subject))
        if row is None or row.fence != due.fence:
            return False
        row.due_at, row.lease_until = self._clock() + min(until, MAX_SPAN), None
        row.attempt += 1
        return True

    async def finish(self, due: Due) -> bool:
        """As the port says."""
        schedules, place = self._called().schedules, (due.schedule, due.subject)
        if place not in schedules or schedules[place].fence != due.fence:
            return False
        del schedules[place]
        return True

    # ------------------------------------------------------------ parked records

    async def park(self, parked: Parked) -> None:
        """As the port says."""
        rows = self._called()
        held = rows.parked.get(parked.id, parked)
        rows.parked[parked.id] = replace(
            held, attempt=parked.attempt, reason=storable(parked.reason), due_at=parked.due_at
        )

    async def take_parked(self, group: str, *, limit: int) -> Sequence[Parked]:
        """As the port says."""
        rows, now = self._called(), self._clock()
        found = [p for p in rows.parked.values() if p.group == group and _is_due(p.due_at, now)]
        found.sort(key=lambda parked: (parked.due_at, parked.id))
        return found[: max(limit, 0)]

    async def unpark(self, parked: Parked) -> None:
        """As the port says."""
        self._called().parked.pop(parked.id, None)

    async def ping(self) -> None:
        """As the port says."""
        self._called()


def _age(request: Request) -> tuple[datetime, str]:
    return request.first_at, request.request_id


def _matches(request: Request, wanted: RequestFilter) -> bool:
    endpoint = request.endpoint.value if request.endpoint else ""
    submission_id = request.submission.value if request.submission else ""
    return (
        (not wanted.states or request.state in wanted.states)
        and storable(wanted.endpoint) in ("", endpoint)
        and storable(wanted.submission_id) in ("", submission_id)
        and storable(wanted.group) in ("", request.group)
        and storable(wanted.supersedes) in ("", request.series.key if request.series else "")
        and (request.is_open or not wanted.open_only)
    )


def _whole(detail: Mapping[str, Any]) -> dict[str, Any]:
    try:
        whole: dict[str, Any] = parse_json(dump_json(dict(detail)))
    except (ValueError, TypeError) as exc:
        raise UndecodableEvent("detail", "not JSON that can be kept") from exc
    return whole


def _is_due(due_at: datetime, now: datetime) -> bool:
    return due_at <= now or due_at > now + MAX_SPAN


def _is_free(row: Scheduled, now: datetime) -> bool:
    return row.lease_until is None or _is_due(row.lease_until, now)
