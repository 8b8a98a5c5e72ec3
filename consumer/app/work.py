"""Handlers and sweeps, joined to the backends: what a `serve` does with its records and rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from yarl import URL

from consumer.app.backends import WorkBackends
from consumer.fal.queue import FalQueueClient
from consumer.handlers.cancelling import Canceller
from consumer.handlers.commands import Commands, Paid
from consumer.handlers.drifting import KeepDrift
from consumer.handlers.fetch import Fetch
from consumer.handlers.judging import Judge
from consumer.handlers.record import RecordEvents
from consumer.handlers.results import Facts, Results
from consumer.handlers.submitting import Callbacks, Submitter
from consumer.ports import FalQueue
from consumer.readiness import Report
from consumer.settings import Settings
from consumer.sweeps import (
    Round,
    account,
    cancel,
    claims,
    parked,
    reconcile,
    retention,
    settle,
    usual,
)
from consumer.trust import TrustedKeySets
from consumer.worker import Handler, Worker, WorkerLimits

SWEEPS = "sweeps"
PARTS = (Fetch.name, RecordEvents.name, Commands.name, SWEEPS)
"""What a worker may be told to run: handlers by name, and all sweeps together."""

_SWEEP_EVERY = timedelta(seconds=1)
_CONCURRENCY = 64
_RECORD_CONCURRENCY = 256
# `record` waits for shared transactions: more at once means more in each.


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep: its round, how many rows make a full one, and the pause after any other."""

    name: str
    round: Round
    batch: int
    every: timedelta = _SWEEP_EVERY


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that runs, and what it would tell an operator."""

    workers: Sequence[Worker]
    sweeps: Sequence[Sweep]
    notes: Sequence[Report]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What handlers and sweeps share."""

    facts: Facts
    results: Results
    judge: Judge
    fal: FalQueue | None
    submitter: Submitter | None
    paid: Paid | None


def join(settings: Settings, backends: WorkBackends, parts: Collection[str] = PARTS) -> Work:
    """Return the workers and sweeps over these backends, as far as `parts` names them."""
    shared = _share(settings, backends)
    workers = [
        _worker(handler, settings, backends)
        for handler in _handlers(settings, backends, shared)
        if handler.name in parts
    ]
    sweeps, notes = _sweeps(settings, backends, shared) if SWEEPS in parts else ([], [])
    if RecordEvents.name in parts:  # whose plans rest on it
        learning = usual.LearnUsual(backends.ledger, backends.learned)
        sweeps.append(Sweep("usual", learning.round, usual.BATCH, usual.EVERY))
    if SWEEPS in parts and settings.ledger_keep_days is not None:
        old = retention.TrimLedger(backends.ledger, timedelta(days=settings.ledger_keep_days))
        sweeps.append(Sweep("retention", old.round, retention.BATCH, retention.EVERY))
    for worker in workers:
        waiting = parked.HandleParked(worker, backends.ledger)
        sweeps.append(Sweep(f"parked/{worker.handler.name}", waiting.round, parked.BATCH))
    return Work(workers, sweeps, notes)


def _share(settings: Settings, backends: WorkBackends) -> _Shared:
    ledger, clock = backends.ledger, backends.clock
    fal = KeepDrift(backends.fal, backends.log, clock=clock) if backends.fal else None
    source = fal.origin if fal else str(URL(settings.queue_url).origin())
    facts = Facts(backends.log, source=source)
    results = Results(backends.log, ledger, source=source, clock=clock)
    trusted = TrustedKeySets(backends.keys, ledger, urls=backends.keys.urls)
    judge = Judge(trusted, accounts=backends.accounts, secrets=backends.secrets)
    if fal is None:
        return _Shared(facts, results, judge, None, None, None)
    submitter = Submitter(
        fal,
        facts,
        results,
        ledger,
        Callbacks(settings.public_url or "", backends.secrets),
        policies=backends.policies,
        clock=clock,
    )
    canceller = Canceller(fal, facts, results, ledger, clock=clock)
    return _Shared(facts, results, judge, fal, submitter, Paid(fal, submitter, canceller))


def _handlers(settings: Settings, backends: WorkBackends, shared: _Shared) -> list[Handler]:
    ledger, clock, policies = backends.ledger, backends.clock, backends.policies
    return [
        Fetch(shared.judge, shared.fal, shared.results, ledger, policies=policies, clock=clock),
        RecordEvents(
            shared.judge,
            ledger,
            shared.facts,
            key_set_urls=backends.keys.urls,
            secrets=backends.secrets,
            policies=policies,
            clock=clock,
        ),
        Commands(
            shared.paid,
            shared.facts,
            shared.results,
            ledger,
            may_submit=settings.may_submit,
            policies=policies,
            clock=clock,
        ),
    ]


def _sweeps(
    settings: Settings, backends: WorkBackends, shared: _Shared
) -> tuple[list[Sweep], list[Report]]:
    ledger, clock, policies = backends.ledger, backends.clock, backends.policies
    settler = settle.Settler(shared.fal, shared.results, ledger)
    unpublished = claims.PublishClaims(
        shared.results,
        shared.submitter,
        ledger,
        policies=policies,
        clock=clock,
        metrics=backends.metrics,
    )
    sweeps = [Sweep("claims", unpublished.round, claims.BATCH)]
    if backends.fal is None or shared.fal is None or shared.paid is None:
        ends = settle.SettleEnds(settler, ledger, policies=policies)
        return [*sweeps, Sweep("settle", ends.round, settle.BATCH)], []
    canceller = shared.paid.canceller
    overdue = reconcile.Reconcile(
        shared.fal,
        shared.facts,
        shared.results,
        ledger,
        canceller,
        settler,
        policies=policies,
        clock=clock,
        metrics=backends.metrics,
        listing=backends.listing,
    )
    stale = cancel.CancelStale(
        canceller, shared.facts, ledger, policies=policies, clock=clock, metrics=backends.metrics
    )
    sweeps.append(Sweep("reconcile", overdue.round, reconcile.BATCH))
    sweeps.append(Sweep("cancel", stale.round, cancel.BATCH))
    listed = _account_sweep(settings, backends, shared)
    sweeps += [Sweep("account", one.round, account.BATCH, account.EVERY) for one in listed]
    return sweeps, [
        lambda: _said(overdue.alarm, stale.note, *(one.note for one in listed)),
        _notes_of(backends.fal),
    ]


def _account_sweep(
    settings: Settings, backends: WorkBackends, shared: _Shared
) -> list[account.SweepAccount]:
    if backends.listing is None or not settings.account_sweep:
        return []
    return [
        account.SweepAccount(
            backends.listing,
            shared.facts,
            backends.ledger,
            endpoints=settings.submit_endpoints or (),
            clock=backends.clock,
        )
    ]


def _said(*sentences: str | None) -> list[str]:
    return [sentence for sentence in sentences if sentence]


def _notes_of(fal: FalQueueClient) -> Report:
    sentences = {
        "locked": "fal says that the account is locked: submits wait until it is not",
        "unauthorized": "fal does not take the configured FAL_KEY",
        "no_key": "the key file holds no usable FAL_KEY",
    }
    return lambda: [sentences[word] for word in fal.problems()]


def _worker(handler: Handler, settings: Settings, backends: WorkBackends) -> Worker:
    # The rest of the stop budget is for the receiver, which stops first, and for closing:
    # on Kafka a last commit and leaving the group may take 11 s while brokers hang.
    share = 0.6 if settings.is_embedded else 0.35
    budget = timedelta(seconds=settings.stop_timeout_s * share)
    is_record = handler.name == RecordEvents.name
    return Worker(
        handler,
        backends.log,
        backends.ledger,
        clock=backends.clock,
        policies=backends.policies,
        metrics=backends.metrics,
        limits=WorkerLimits(
            concurrency=_RECORD_CONCURRENCY if is_record else _CONCURRENCY,
            handler_deadline=timedelta(seconds=max(120.0, settings.submit_timeout_s + 30)),
            stop_budget=budget,
        ),
    )
