"""
A stand-in for fal.ai: queue, results, key set, platform API and signed webhooks, on loopback.

Serves tests, demos and benchmarks. Imports nothing of the rest of the package, so that
what it signs and what we verify stay two independent readings of the same pages.
"""

from consumer.simulator.books import Answered, Attempt, Books, CancelCall, Change, RequestEntry
from consumer.simulator.config import SimulatorConfig, SimulatorConfigError, UrlForm
from consumer.simulator.deliveries import completion_body
from consumer.simulator.faults import Fault, Operation
from consumer.simulator.jwks_api import JwksMode
from consumer.simulator.keys import KeyRing, SigningKey, jwks_document
from consumer.simulator.loose import LooseDelivery, Signature
from consumer.simulator.scenarios import MIXED_WEIGHTS, SCENARIOS
from consumer.simulator.server import Simulator
from consumer.simulator.standing import Api, Hint, LockReason, RateLimit
from consumer.simulator.webhooks import NotLoopbackError

__all__ = [
    "MIXED_WEIGHTS",
    "SCENARIOS",
    "Answered",
    "Api",
    "Attempt",
    "Books",
    "CancelCall",
    "Change",
    "Fault",
    "Hint",
    "JwksMode",
    "KeyRing",
    "LockReason",
    "LooseDelivery",
    "NotLoopbackError",
    "Operation",
    "RateLimit",
    "RequestEntry",
    "Signature",
    "SigningKey",
    "Simulator",
    "SimulatorConfig",
    "SimulatorConfigError",
    "UrlForm",
    "completion_body",
    "jwks_document",
]
