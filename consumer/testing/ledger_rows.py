"""
The rows of the ledger in memory, and how an entry changes them.

Every touched request and submission is folded anew from all that is known of it, so that
comparing with the real ledger, which joins one fact to one row, tests both.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from consumer.core.fact import Fact
from consumer.core.lifecycle import join_request, join_result, join_submission
from consumer.core.projection import DeadLetterEntry, Entry, Evidence, KeySetEntry, ResultEntry
from consumer.core.standing import ENDS, Request, Submission, SubmissionState
from consumer.core.text import parse_json, storable, storable_json
from consumer.errors import UndecodableEvent
from consumer.ports import Claim, ClaimKind, Parked, Planner, StampKind

MAX_SPAN = timedelta(hours=48)
_MAX_REVISION = 2**63 - 1
_BEGUN = frozenset({SubmissionState.INTENDED, SubmissionState.SENDING, SubmissionState.UNKNOWN})


@dataclass(slots=True)
class Scheduled:
    """One row of a schedule."""

    planned_at: datetime
    due_at: datetime
    attempt: int = 1
    fence: int = -1
    lease_until: datetime | None = None


@dataclass(slots=True)
class MemoryRows:
    """Everything a `MemoryLedger` holds; another one goes on with it."""

    facts: dict[str, Fact] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    submissions: dict[str, Submission] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    results: dict[tuple[str, int], ResultEntry] = field(default_factory=dict)
    key_sets: dict[tuple[str, str], KeySetEntry] = field(default_factory=dict)
    dead_letters: dict[str, DeadLetterEntry] = field(default_factory=dict)
    schedules: dict[tuple[str, str], Scheduled] = field(default_factory=dict)
    claims: dict[tuple[ClaimKind, str, int], Claim] = field(default_factory=dict)
    parked: dict[str, Parked] = field(default_factory=dict)
    stamps: set[tuple[StampKind, datetime]] = field(default_factory=set)
    numbers: dict[str, dict[str, int]] = field(default_factory=dict)
    allowances: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    fences: Iterator[int] = field(default_factory=itertools.count)

    def keep(self, entry: Entry) -> bool:
        """Keep what a storable entry adds; tell whether anything of it is new."""
        changed = [self._keep_fact(fact) for fact in entry.facts]
        if entry.evidence is not None:
            changed.append(self._keep_evidence(entry.evidence))
        if entry.result is not None:
            place = (subject_of(entry.result), entry.result.published.revision)
            changed.append(place not in self.results)
            self.results.setdefault(place, entry.result)
        if entry.key_set is not None:
            changed.append(self._keep_key_set(entry.key_set))
        if entry.dead_letter is not None:
            changed.append(entry.dead_letter.id not in self.dead_letters)
            self.dead_letters.setdefault(entry.dead_letter.id, entry.dead_letter)
        return any(changed)

    def derive(self, request_ids: Iterable[str], submission_ids: Iterable[str]) -> None:
        """Fold these requests and submissions from all that is known of them."""
        for name in request_ids:
            request = self._folded_request(name)
            if request is not None:
                self.requests[name] = request
        for name in submission_ids:
            submission = self._folded_submission(name)
            if submission is not None:
                self.submissions[name] = submission

    def trim(self, before: datetime) -> int:
        """Forget facts and evidence from before, of requests and submissions that are over."""
        facts = [fact for fact in self.facts.values() if fact.at < before]
        evidence = [item for item in self.evidence.values() if item.received_at < before]
        old_facts = [
            fact.id
            for fact in facts
            if fact.counts and not self._is_kept(fact.request_id, fact.submission_id, before)
        ]
        old_evidence = [
            item.id
            for item in evidence
            if item.counts and not self._is_kept(item.request_id, "", before)
        ]
        for name in old_facts:
            del self.facts[name]
        for name in old_evidence:
            del self.evidence[name]
        return len(old_facts) + len(old_evidence)

    def _is_kept(self, request_id: str, submission_id: str, before: datetime) -> bool:
        ours = self.submissions.get(submission_id)
        names = {request_id, ours.request.value if ours and ours.request else ""} - {""}
        unproven = {fact.request_id for fact in self.facts.values() if not fact.counts} - {""}
        if request_id in unproven:
            return True
        held = [self.requests[name] for name in names if name in self.requests]
        if any(request.is_open or request.last_at >= before for request in held):
            return True
        if ours is None:
            return False
        has_ended = ours.state is SubmissionState.SUBMITTED or ours.result is not None
        return not has_ended or ours.state in _BEGUN or ours.last_at >= before

    def _folded_request(self, name: str) -> Request | None:
        held: Request | None = None
        for fact in self.facts.values():
            held = join_request(held, fact) if fact.request_id == name else held
        for result in self.results.values():
            if result.request_id == name:
                bare = Request(request_id=name, first_at=result.at, last_at=result.at)
                held = join_result(held or bare, result.published, result.at)
        return held

    def _folded_submission(self, name: str) -> Submission | None:
        held: Submission | None = None
        for fact in self.facts.values():
            held = join_submission(held, fact) if fact.submission_id == name else held
        for result in self.results.values():
            if result.submission_id == name and not result.request_id:
                bare = Submission(submission_id=name, first_at=result.at, last_at=result.at)
                held = join_result(held or bare, result.published, result.at)
        return held

    def keep_schedules(self, request_ids: Iterable[str], plan: Planner, now: datetime) -> None:
        """Let the rows of these requests be as their plans say."""
        for name in request_ids:
            wanted = plan(self.requests[name], now)
            for schedule, at in (("check", wanted.check_at), ("cancel", wanted.cancel_at)):
                row = self.schedules.get((schedule, name))
                if at is None:
                    self.schedules.pop((schedule, name), None)
                elif row is None:
                    self.schedules[schedule, name] = Scheduled(at, min(at, now + MAX_SPAN))
                elif at <= now < row.due_at if schedule == "check" else at != row.planned_at:
                    row.planned_at, row.due_at = at, min(at, row.due_at)

    def has_conflict(self, request_id: str) -> bool:
        """Tell whether the request is there and has a conflict."""
        return request_id in self.requests and self.requests[request_id].has_conflict

    def _keep_fact(self, fact: Fact) -> bool:
        held = self.facts.get(fact.id)
        if held is None:
            self.facts[fact.id] = fact
        elif fact.counts and not held.counts:
            self.facts[fact.id] = replace(held, counts=True)
        else:
            return False
        return True

    def _keep_evidence(self, evidence: Evidence) -> bool:
        held = self.evidence.get(evidence.id)
        if held is None:
            self.evidence[evidence.id] = evidence
        elif evidence.counts and not held.counts:
            self.evidence[evidence.id] = replace(held, counts=True)
        else:
            return False
        return True

    def _keep_key_set(self, key_set: KeySetEntry) -> bool:
        place = (key_set.url, key_set.sha256)
        held = self.key_sets.get(place)
        if held is not None and held.fetched_at >= key_set.fetched_at:
            return False
        self.key_sets[place] = key_set
        return True


def storable_entry(entry: Entry) -> Entry:
    """Return the entry as a database would keep it. Raises UndecodableEvent like the real one."""
    evidence, letter = entry.evidence, entry.dead_letter
    return replace(
        entry,
        facts=tuple(map(_storable_fact, entry.facts)),
        evidence=evidence and replace(evidence, **_texts(evidence, _EVIDENCE_TEXTS)),
        result=entry.result and _checked(entry.result),
        dead_letter=letter and replace(letter, **_texts(letter, ("id", "key", "reason", "origin"))),
    )


_EVIDENCE_TEXTS = ("id", "request_id", "user_id", "timestamp", "signature", "key", "kid", "source")


def touched(entry: Entry) -> tuple[list[str], list[str]]:
    """Return the requests and the submissions that a storable entry is about."""
    request_ids = [fact.request_id for fact in entry.facts]
    submission_ids = [fact.submission_id for fact in entry.facts]
    if entry.result is not None:
        request_ids.append(entry.result.request_id)
        if not entry.result.request_id:
            submission_ids.append(entry.result.submission_id)
    if entry.evidence is not None:
        request_ids.append(entry.evidence.request_id)
    return _named(request_ids), _named(submission_ids)


def subject_of(result: ResultEntry) -> str:
    """Return whom a result is about: its request, or the submission that never had one."""
    return result.request_id or result.submission_id


def _named(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name]


def _storable_fact(fact: Fact) -> Fact:
    try:
        detail = parse_json(storable_json(dict(fact.detail)).encode())
    except (ValueError, TypeError, RecursionError) as exc:
        raise UndecodableEvent("detail", "not JSON that can be kept") from exc
    names = ("id", "request_id", "submission_id", "account")
    return replace(fact, detail=detail, **_texts(fact, names))


def _checked(result: ResultEntry) -> ResultEntry:
    ends = {state.value for state in ENDS}
    if not subject_of(result):
        raise UndecodableEvent("request_id", "a result of neither a request nor a submission")
    if not 1 <= result.published.revision <= _MAX_REVISION:
        raise UndecodableEvent("revision", "out of range")
    if result.request_id and result.published.outcome not in ends:
        raise UndecodableEvent("outcome", "not an end of a request")
    return replace(result, **_texts(result, ("event_id", "request_id", "submission_id")))


def _texts(value: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: storable(getattr(value, name)) for name in names}
