"""
What every `ports.Ledger` promises, as functions that take a stage.

A stage holds a fresh ledger, the clock that it reads, and a way to close it and open it
again, as after a restart. Each module holds the promises about one idea; `SUITE` has them all.
"""

import asyncio

from tests.conformance.ledger import (
    claims,
    evidence,
    keys,
    parking,
    reading,
    recording,
    retention,
    schedules,
    stamping,
)
from tests.conformance.ledger.entries import resulted, told, webhook
from tests.conformance.ledger.stage import R1, R2, SECOND, T0, ManualClock, Stage, plan, rows

__all__ = [
    "R1",
    "R2",
    "SECOND",
    "SUITE",
    "T0",
    "ManualClock",
    "Stage",
    "plan",
    "resulted",
    "rows",
    "told",
    "webhook",
]

SUITE = [
    promise
    for module in (
        recording,
        evidence,
        reading,
        keys,
        claims,
        schedules,
        parking,
        stamping,
        retention,
    )
    for promise in vars(module).values()
    if asyncio.iscoroutinefunction(promise) and promise.__module__ == module.__name__
]
