"""
fal.ai over HTTP: what fal answers, as values of `ports`, or as an error of ours.

`transport` speaks HTTP and knows no fal, `wire` judges bodies and does no I/O, `queue`
puts the two together. No exception of the HTTP library leaves this folder.
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
