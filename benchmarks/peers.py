"""
The least that an aiohttp receiver can do: each part alone, and all of them together.

    python benchmarks/peers.py VARIANT --port N --key HEX [--kafka HOST:PORT --topic NAME]

`bare` reads the body and answers; `verify` also verifies it; `produce` sends it to Kafka
instead; `minimal` does both, and nothing else.
"""

import argparse
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

import uvloop
from aiohttp import web
from aiokafka import AIOKafkaProducer
from nacl.signing import VerifyKey

VARIANTS = ("bare", "verify", "produce", "minimal")
_BATCH_BYTES = 1024 * 1024
# As the receiver's. The client's own default, 16 KiB, collapses at 512 connections.
_EVIDENCE = (
    "X-Fal-Webhook-Request-Id",
    "X-Fal-Webhook-User-Id",
    "X-Fal-Webhook-Timestamp",
    "X-Fal-Webhook-Signature",
)

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Peer:
    """One variant's handler. The verifier is made once, and so is the producer."""

    def __init__(self, variant: str, key: bytes, topic: str) -> None:
        self.producer: AIOKafkaProducer | None = None
        self._verifies = variant in ("verify", "minimal")
        self._verifier = VerifyKey(key)
        self._topic = topic

    async def handle(self, request: web.Request) -> web.Response:
        """Answer 200 once what the variant does is done."""
        body = await request.read()
        if self._verifies:
            self._verify(request, body)
        if self.producer is not None:
            headers = request.headers
            await self.producer.send_and_wait(
                self._topic,
                body,
                key=headers[_EVIDENCE[0]].encode(),
                # Without them the record could never be verified again.
                headers=[(name, headers[name].encode()) for name in _EVIDENCE],
            )
        return web.Response()

    def _verify(self, request: web.Request, body: bytes) -> None:
        request_id, user_id, timestamp, signature = (request.headers[name] for name in _EVIDENCE)
        if abs(time.time() - int(timestamp)) > 300:
            raise web.HTTPUnauthorized
        message = "\n".join((request_id, user_id, timestamp, sha256(body).hexdigest()))
        self._verifier.verify(message.encode(), bytes.fromhex(signature))


@asynccontextmanager
async def _producer(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        max_batch_size=_BATCH_BYTES,
    )
    await producer.start()
    yield producer
    await producer.stop()


def _app(peer: Peer, variant: str, servers: str) -> web.Application:
    async def producing(_app: web.Application) -> AsyncIterator[None]:
        async with _producer(servers) as peer.producer:
            yield

    app = web.Application()
    app.router.add_post("/webhooks/fal{token:.*}", peer.handle)
    if variant in ("produce", "minimal"):
        app.cleanup_ctx.append(producing)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", type=bytes.fromhex, required=True)
    parser.add_argument("--kafka", default="")
    parser.add_argument("--topic", default="")
    given = parser.parse_args()
    app = _app(Peer(given.variant, given.key, given.topic), given.variant, given.kafka)
    loop = uvloop.new_event_loop()
    web.run_app(
        app, host="127.0.0.1", port=given.port, access_log=None, backlog=1024, print=None, loop=loop
    )


if __name__ == "__main__":
    main()
