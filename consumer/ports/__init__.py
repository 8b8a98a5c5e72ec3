"""
The seams: what the receiver, the worker, the handlers and the sweeps know of the outside.

Each protocol has a real implementation or two, and a fake in `consumer.testing` that
passes the same conformance suite. No library's exception crosses a port.
"""

from collections.abc import Callable
from datetime import datetime

from consumer.ports.fal import (
    CancelAnswer,
    FalQueue,
    QueueStatus,
    ResultAnswer,
    ResultKind,
    StatusAnswer,
    SubmitAnswer,
    SubmitOrder,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
)
from consumer.ports.keys import Keys, TrustedKeys
from consumer.ports.ledger import (
    Claim,
    ClaimKind,
    Due,
    Ledger,
    Parked,
    Plan,
    Planner,
    Recorded,
    RequestFilter,
    StampKind,
)
from consumer.ports.listing import FalListing
from consumer.ports.log import Log, OnRevoked, Place, Position, Publisher, Record, Subscription

Clock = Callable[[], datetime]
"""Returns the present instant, aware UTC."""

__all__ = [
    "CancelAnswer",
    "Claim",
    "ClaimKind",
    "Clock",
    "Due",
    "FalListing",
    "FalQueue",
    "Keys",
    "Ledger",
    "Log",
    "OnRevoked",
    "Parked",
    "Place",
    "Plan",
    "Planner",
    "Position",
    "Publisher",
    "QueueStatus",
    "Record",
    "Recorded",
    "RequestFilter",
    "ResultAnswer",
    "ResultKind",
    "StampKind",
    "StatusAnswer",
    "SubmitAnswer",
    "SubmitOrder",
    "SubmitRefused",
    "SubmitUnknown",
    "Submitted",
    "Subscription",
    "TrustedKeys",
]
