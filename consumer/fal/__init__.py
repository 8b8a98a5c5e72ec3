"""
fal.ai over HTTP: what fal answers, as values of `ports`, or as an error of ours.

`transport` speaks HTTP and knows no fal; `order` and `wire` judge what is sent and what
comes back, without I/O; `queue` puts them together. No exception of the HTTP library
leaves this folder.
"""

from consumer.fal.credentials import Credential, file_credential, fixed_credential
from consumer.fal.queue import FalQueueClient, open_fal
from consumer.fal.transport import FalLimits

__all__ = [
    "Credential",
    "FalLimits",
    "FalQueueClient",
    "file_credential",
    "fixed_credential",
    "open_fal",
]
