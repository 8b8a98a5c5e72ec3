"""
fal.ai over HTTP: what fal answers, as typed values, or as an error of ours.

`open_client` gives all of fal's API; `FalQueueClient` is the part that handlers and sweeps
know as a port. `transport` speaks HTTP and knows no fal, `caller` puts patience around it;
`order`, `wire`, `outcomes` and `reading` judge what is sent and what comes back, without
I/O. No exception of the HTTP library leaves this folder.
"""

from consumer.fal.answers import (
    BillingEvent,
    Cancellation,
    Estimate,
    EstimateKind,
    HeldKeySet,
    ListedRequest,
    LogLine,
    Model,
    Price,
    Prices,
    RequestResult,
    ResultWord,
    Status,
    Submission,
    SubmitWord,
)
from consumer.fal.client import FalAddresses, FalClient, FalParts, open_client, open_fal
from consumer.fal.credentials import (
    Credential,
    environment_credential,
    file_credential,
    fixed_credential,
)
from consumer.fal.platform import Span
from consumer.fal.queue import FalQueueClient
from consumer.fal.transport import FalLimits

__all__ = [
    "BillingEvent",
    "Cancellation",
    "Credential",
    "Estimate",
    "EstimateKind",
    "FalAddresses",
    "FalClient",
    "FalLimits",
    "FalParts",
    "FalQueueClient",
    "HeldKeySet",
    "ListedRequest",
    "LogLine",
    "Model",
    "Price",
    "Prices",
    "RequestResult",
    "ResultWord",
    "Span",
    "Status",
    "Submission",
    "SubmitWord",
    "environment_credential",
    "file_credential",
    "fixed_credential",
    "open_client",
    "open_fal",
]
