"""
Which deliveries a finished job causes, in which order: a plan, computed, not yet sent.

Pure. The forged ones are built here too, each wrong in exactly one way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumer.simulator.jobs import Job, new_request_id
from consumer.simulator.keys import SigningKey
from consumer.simulator.outcomes import Ending
from consumer.simulator.scenarios import Body, Extra

OLD_TIMESTAMP_S = -3600  # fal's documented tolerance is 300 s either way


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    One body on its way to a webhook URL.

    Without `key` the ring's current key signs each attempt anew; `signed_body` is what the
    signature covers where that is not the body sent. `is_retried` is False for forgeries:
    a forger does not follow fal's schedule.
    """

    kind: str
    request_id: str
    user_id: str
    body: bytes
    key: SigningKey | None = None
    signed_body: bytes | None = None
    timestamp_offset_s: int = 0
    is_retried: bool = True


def genuine(job: Job, ending: Ending, account: str) -> Delivery:
    """Return the delivery that fal itself sends for this job."""
    kind, body = "genuine", job.webhook_body(ending)
    match job.scenario.body:
        case Body.UNREADABLE:
            kind, body = "unreadable", b"<html>\xff\xfe this is not JSON </html>"
        case Body.OTHER_ID:
            other = new_request_id(job.ended_at or 0.0)
            kind, body = "other_id", body.replace(job.request_id.encode(), other.encode())
    return Delivery(kind, job.request_id, account, body)


def decoy(job: Job, ending: Ending, account: str, forger: SigningKey) -> Delivery | None:
    """Return the delivery that must not count, or None where the scenario has none."""
    kind = job.scenario.extra
    if kind is None:
        return None
    honest, lie = job.webhook_body(ending), _false_body(job.request_id)
    match kind:
        case Extra.FORGED_KEY:
            return Delivery(kind.value, job.request_id, account, lie, key=forger, is_retried=False)
        case Extra.FORGED_BODY:
            return Delivery(
                kind.value, job.request_id, account, lie, signed_body=honest, is_retried=False
            )
        case Extra.FORGED_OLD_TIMESTAMP:
            return Delivery(
                kind.value,
                job.request_id,
                account,
                honest,
                timestamp_offset_s=OLD_TIMESTAMP_S,
                is_retried=False,
            )
        case Extra.FOREIGN_ACCOUNT:
            # Another customer of fal's named our URL: his own request, truly signed by fal.
            foreign_id = new_request_id(job.ended_at or 0.0)
            stranger = f"github|{job.rng('stranger').randrange(2_000_000, 9_000_000)}"
            return Delivery(
                kind.value, foreign_id, stranger, _false_body(foreign_id), is_retried=False
            )


def completion_body(
    request_id: str, payload: Mapping[str, Any] | None, error: str | None = None
) -> bytes:
    """
    Return a webhook body about any request, for deliveries made by hand.

    With `error` (such as `Unexpected status code: 422`) its status is ERROR. The form is
    that of `outcomes.delivery_body`, which also knows null payloads and their reason.
    """
    fields = {
        "error": error,
        "gateway_request_id": request_id,
        "payload": payload,
        "request_id": request_id,
        "status": "OK" if error is None else "ERROR",
    }
    return json.dumps(fields, sort_keys=True).encode()


def _false_body(request_id: str) -> bytes:
    return completion_body(request_id, {"prompt": "this never happened", "seed": 1})
