"""
What a delivery into Kafka costs: the receiver against the least there is, and what teams write.

    python benchmarks/receiver_kafka.py [--rounds 5] [--deliveries 10000] [--connections 8 64 512]

Every server is a process of its own, started as its operator would: (a) a minimal aiohttp
handler with the same verification and the same send, (b) FastAPI as fal's documentation leads
to it, (c) `fal-consumer receive` with its log lines and its spool. All take the same deliveries
in turns and answer after all replicas have them, on a real broker started here. Beside them the
parts of (a), each alone. Judged by CPU per delivery. `--tokens` posts to a callback URL with a
signed token, as fal does for jobs that the worker submitted.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ACCOUNT, Child, KeySetServer, Load, Round, median_of, told

from consumer.app.topics import MakeOrder, make_topics
from consumer.core.token import WEBHOOK_PATH, Token, sign_token
from consumer.devservers import KafkaCluster, open_kafka
from consumer.settings import Settings
from consumer.testing.keys import Signer
from consumer.testing.rig import environ_of

PARTITIONS = 12
SERVERS = {
    "bare": "bare aiohttp, body read",
    "verify": "bare + verification",
    "produce": "bare + produce",
    "minimal": "(a) minimal aiohttp, verify and produce",
    "fastapi": "(b) FastAPI, uvicorn, as teams write it",
    "receiver": "(c) fal-consumer receive",
}
_HERE = Path(__file__).parent
_TOKEN_SECRET = "benchmark " * 4  # signs nothing but what is posted here


@dataclass(frozen=True)
class Order:
    """What to measure."""

    rounds: int
    deliveries: int
    connections: Sequence[int]
    servers: Sequence[str]
    has_tokens: bool


@dataclass(frozen=True)
class Scene:
    """What every server is given."""

    folder: Path
    kafka: KafkaCluster
    key_set_url: str
    signer: Signer

    async def child(self, name: str) -> Child:
        """Return one server, its topic made."""
        log_file = self.folder / f"{name}.log"
        if name == "receiver":
            return await self._receiver(log_file)
        topic = f"peer.{name}"
        await self.kafka.make_topic(topic, partitions=PARTITIONS)
        if name == "fastapi":
            uvicorn = ["-m", "uvicorn", "--app-dir", str(_HERE), "--port", "{port}"]
            environ = {
                "KAFKA_SERVERS": self.kafka.servers,
                "KAFKA_TOPIC": topic,
                "JWKS_URL": self.key_set_url,
            }
            return Child(log_file, [*uvicorn, "fastapi_peer:app"], environ)
        key = self.signer.private.public_key().public_bytes_raw().hex()
        peer = [str(_HERE / "peers.py"), name, "--port", "{port}", "--key", key]
        return Child(log_file, [*peer, "--kafka", self.kafka.servers, "--topic", topic])

    async def _receiver(self, log_file: Path) -> Child:
        secrets = self.folder / "token-secrets"
        secrets.write_text(_TOKEN_SECRET)
        chosen: dict[str, Any] = {
            "accounts": (ACCOUNT,),
            "jwks_url": self.key_set_url,
            "kafka_single_broker": True,
            "log_url": f"kafka://{self.kafka.servers}",
            "token_secrets_file": secrets,
        }
        await make_topics(Settings(**chosen), MakeOrder(partitions=PARTITIONS))
        own = {
            "FAL_CONSUMER_CONSOLE_LISTEN": "none",
            "FAL_CONSUMER_DATA_DIR": str(self.folder / "receiver"),
            "FAL_CONSUMER_LISTEN": "127.0.0.1:{port}",
            "FAL_CONSUMER_LOG_FORMAT": "json",
        }
        return Child(log_file, ["-m", "consumer", "receive"], environ_of(chosen) | own)


async def measure(order: Order, folder: Path) -> None:
    """Start everything, play the rounds, and print what was found."""
    signer = Signer()
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(open_kafka(folder / "kafka"))
        key_set = await stack.enter_async_context(KeySetServer(signer))
        scene = Scene(folder, kafka, key_set.url, signer)
        children = {
            name: await stack.enter_async_context(await scene.child(name)) for name in order.servers
        }
        token = sign_token(Token("fal-ai/flux/dev", "0" * 40), [_TOKEN_SECRET.strip().encode()])
        load = Load(signer, f"{WEBHOOK_PATH}/{token}" if order.has_tokens else WEBHOOK_PATH)
        stack.callback(load.close)
        found = {(at, name): list[Round]() for at in order.connections for name in children}
        for number in range(order.rounds + 1):
            for connections in order.connections:
                await asyncio.to_thread(load.sign, order.deliveries)
                for name, child in children.items():
                    one = await asyncio.to_thread(
                        load.round, child.port, child.pid, connections=connections
                    )
                    if number:  # the first round warms up
                        found[connections, name].append(one)
    for connections in order.connections:
        _tell(connections, {name: median_of(found[connections, name]) for name in order.servers})


def _tell(connections: int, middle: dict[str, Round]) -> None:
    print(f"\n{connections} connections")
    for name, row in middle.items():
        print(told(SERVERS[name], row))
    cpu_us = {name: row.cpu_us for name, row in middle.items()}
    if {"bare", "verify", "produce"} <= cpu_us.keys():
        verify, produce = cpu_us["verify"] - cpu_us["bare"], cpu_us["produce"] - cpu_us["bare"]
        print(
            f"parts of (a): HTTP {cpu_us['bare']:.0f} us, verification {verify:.0f} us, "
            f"produce {produce:.0f} us"
        )
    if {"minimal", "fastapi", "receiver"} <= cpu_us.keys():
        ours = cpu_us["receiver"]
        print(
            f"CPU (c)/(a) {ours / cpu_us['minimal']:.2f} (aim 1.18)   "
            f"(c)/(b) {ours / cpu_us['fastapi']:.2f} (aim 0.50)"
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--connections", type=int, nargs="+", default=(8, 64, 512))
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=tuple(SERVERS))
    parser.add_argument("--tokens", action="store_true")
    given = parser.parse_args()
    order = Order(given.rounds, given.deliveries, given.connections, given.servers, given.tokens)
    print(
        f"{order.deliveries} deliveries a round, medians of {order.rounds} interleaved rounds, "
        f"one broker, {PARTITIONS} partitions{', tokens' if order.has_tokens else ''}"
    )
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(order, Path(folder)))


if __name__ == "__main__":
    main()
