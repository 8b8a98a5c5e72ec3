"""What the tests of the edge send, under which limits, and over which connection."""

import asyncio

from consumer.receiver import ReceiverRules
from consumer.receiving.limits import ReceiverLimits
from consumer.testing.deliveries import webhook_body
from consumer.testing.receiving import ACCOUNT

BODY = webhook_body()
POST = b"POST /webhooks/fal HTTP/1.1\r\nHost: x\r\n"
DEADLINE_S = 20


def limited(**limits):
    return ReceiverRules(frozenset({ACCOUNT}), "https://keys.example", (), ReceiverLimits(**limits))


async def opened(caller):
    return await asyncio.open_connection(caller.host, caller.port)
