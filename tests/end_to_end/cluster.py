"""A whole service on Kafka: a receiver and two workers, each a process of its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from consumer.app import open_ledger, open_log
from consumer.app.topics import MakeOrder, make_topics
from consumer.settings import Settings
from consumer.simulator import Simulator, SimulatorConfig
from consumer.testing.rig import ServiceProcess, environ_of, free_port
from tests.end_to_end.stage import Stage, choices

SECRET = "0123456789abcdef" * 4


@asynccontextmanager
async def open_cluster(
    folder: Path,
    kafka_url: str,
    prefix: str,
    *,
    simulator: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[Stage]:
    """Open a stage as `open_stage` does, its topics and data new at the first time."""
    config = SimulatorConfig(**{"seed": 1, "time_scale": 0.02, **(simulator or {})})
    secrets = folder / "token-secrets"
    secrets.write_text(SECRET)
    async with Simulator(config) as sim, AsyncExitStack() as stack:
        port = free_port()
        chosen = choices(sim, port, folder / "worker", changes) | {
            "log_url": kafka_url,
            "topic_prefix": prefix,
            "kafka_single_broker": True,
            "token_secrets_file": secrets,
            "submit_endpoints": ("fal-ai/flux/dev",),
        }
        settings = Settings(**chosen)
        await make_topics(settings, MakeOrder(partitions=4))
        environ = environ_of(chosen)
        processes = [
            ServiceProcess(folder / "receiver", environ, ("receive",), port=port),
            ServiceProcess(folder / "worker", environ, ("work",), log_file=folder / "one.log"),
            ServiceProcess(folder / "worker", environ, ("work",), log_file=folder / "two.log"),
        ]
        for process in processes:
            await stack.enter_async_context(process)
        log = await stack.enter_async_context(open_log(settings))
        ledger = await stack.enter_async_context(open_ledger(settings))
        yield Stage(sim, settings, f"http://127.0.0.1:{port}", log, ledger)
