"""docs/python-client.md: each of its examples runs against the simulator, as it stands."""

import asyncio
import re
import textwrap
from pathlib import Path

from consumer.fal import FalAddresses, FalParts, open_client
from consumer.simulator import Simulator, SimulatorConfig
from tests.fal.conftest import QUICK

PAGE = Path(__file__).parent.parent / "docs" / "python-client.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
OPERATIONS = [
    "submit",
    "status",
    "stream_status",
    "result",
    "cancel",
    "models",
    "pricing",
    "estimate",
    "requests_by_endpoint",
    "billing_events",
    "key_set",
    "webhook_ip_ranges",
]


async def run(block: str, names: dict) -> None:
    """Run a block as the body of a coroutine; what it names is there for the next ones."""
    block = block.replace("https://example.com/", "http://127.0.0.1:9/")  # delivered nowhere
    body = textwrap.indent(f"{block}\nreturn locals()", "    ")
    source = f"async def block(fal, request_id, SubmitOrder):\n{body}"
    exec(compile(source, PAGE.name, "exec"), names)
    told = await names["block"](names["fal"], names["request_id"], names["SubmitOrder"])
    names.update(told)


def test_every_operation_has_an_example():
    """No operation of the client is without an example."""
    text = "\n".join(BLOCKS)

    assert [name for name in OPERATIONS if f"fal.{name}(" not in text] == []


async def test_every_example_of_the_page_runs(monkeypatch, capsys):
    """The first block is a program; the others run inside its client, one after another."""
    config = SimulatorConfig(seed=7, time_scale=0.001, api_key="id:secret", is_admin=True)
    monkeypatch.setenv("FAL_KEY_ID", "id")
    monkeypatch.setenv("FAL_KEY_SECRET", "secret")
    monkeypatch.delenv("FAL_KEY", raising=False)
    monkeypatch.delenv("FAL_KEY_FILE", raising=False)
    async with Simulator(config) as simulator:
        addresses = FalAddresses(simulator.url, simulator.platform_url, simulator.jwks_url)
        program: dict = {"__name__": "example"}
        exec(BLOCKS[0], program)
        await program["main"](addresses)
        async with (
            asyncio.timeout(60),
            open_client("id:secret", addresses, FalParts(QUICK)) as fal,
        ):
            names = program | {"fal": fal, "request_id": None}
            for block in BLOCKS[1:]:
                await run(block, names)

    said = capsys.readouterr().out
    assert "submitted" in said
    assert "COMPLETED" in said
    assert "unknown: ['fal-ai/no-such-model']" in said
    assert "0 bad_request_id" in said
