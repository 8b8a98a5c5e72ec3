"""`subscribe`: at least once, from where the group stands."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer import Result, subscribe
from consumer.core.event import NewRecord, Topic, encode
from consumer.core.result import Correlation, bare_result, result_event
from consumer.errors import ConfigError, LogUnavailable
from consumer.handlers.commands import Commands
from consumer.handlers.fetch import Fetch
from consumer.handlers.record import RecordEvents
from consumer.log.embedded import EmbeddedLog
from consumer.settings import Settings
from consumer.subscription import SERVICE_GROUPS

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def record(number: int) -> NewRecord:
    """Return the record of a result; all of them are in one partition."""
    correlation = Correlation(command_id=str(number))
    result = bare_result(
        "lost", correlation, request_id="same", reason="x", witness="sweep", ended_at=NOW
    )
    return encode(result_event(result, source="https://queue.example", at=NOW))


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    """Return the log of a data folder, with three results in it."""
    async with EmbeddedLog.open(tmp_path / "log", clock=lambda: NOW) as log:
        for number in (1, 2, 3):
            await log.append(record(number))
        yield log


async def everything(folder: Path, group: str = "billing") -> list[str | None]:
    async with subscribe(group, data_dir=folder, follow=False) as results:
        return [result.command_id async for result in results]


async def test_it_gives_every_result_once_and_ends(log: EmbeddedLog, tmp_path: Path):
    """Without `follow` a new group gets everything there is; the next time nothing."""
    assert ["1", "2", "3"] == await everything(tmp_path)
    assert [] == await everything(tmp_path)


async def test_groups_do_not_know_one_another(log: EmbeddedLog, tmp_path: Path):
    """What one group finished is new to another."""
    await everything(tmp_path, "billing")

    assert ["1", "2", "3"] == await everything(tmp_path, "mail")


async def test_results_are_typed(log: EmbeddedLog, tmp_path: Path):
    """Each one is a `Result`."""
    async with subscribe("billing", data_dir=tmp_path, follow=False) as results:
        assert isinstance(await anext(results), Result)


async def test_an_error_in_the_body_brings_the_result_back(log: EmbeddedLog, tmp_path: Path):
    """A result whose handling raised is given again; those before it are not."""

    async def stumble() -> None:
        async with subscribe("billing", data_dir=tmp_path) as results:
            async for result in results:
                if result.command_id == "2":
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        await stumble()

    assert ["2", "3"] == await everything(tmp_path)


async def test_leaving_the_block_finishes_the_result_in_hand(log: EmbeddedLog, tmp_path: Path):
    """A `break` inside `async with` commits the result that was being handled."""
    async with subscribe("billing", data_dir=tmp_path) as results:
        async for result in results:
            if result.command_id == "2":
                break

    assert ["3"] == await everything(tmp_path)


async def test_closing_finishes_the_result_in_hand(log: EmbeddedLog, tmp_path: Path):
    """`aclose` commits, and closing twice, or before the first result, is harmless."""
    results = subscribe("billing", data_dir=tmp_path)
    await anext(results)
    await results.aclose()
    await results.aclose()
    await subscribe("billing", data_dir=tmp_path).aclose()

    assert ["2", "3"] == await everything(tmp_path)


async def test_it_follows_what_comes(log: EmbeddedLog, tmp_path: Path):
    """With `follow` it waits for the next result."""
    await everything(tmp_path)

    async with subscribe("billing", data_dir=tmp_path) as results:
        await log.append(record(4))
        result = await anext(results)

    assert "4" == result.command_id


async def test_an_unreadable_record_is_skipped_and_counted(log: EmbeddedLog, tmp_path: Path):
    """What is no result is logged and counted, and what comes after it is given."""
    await log.append(NewRecord(Topic.RESULTS, "same", b"{}", ()))
    await log.append(record(5))

    with capture_logs() as logged:
        async with subscribe("billing", data_dir=tmp_path, follow=False) as results:
            found = [result.command_id async for result in results]

    assert (["1", "2", "3", "5"], 1) == (found, results.skipped)
    assert [("record.skipped", 3)] == [(line["event"], line["offset"]) for line in logged]


async def test_a_group_has_one_reader(log: EmbeddedLog, tmp_path: Path):
    """A second reader of a group is refused while the first one reads."""
    async with subscribe("billing", data_dir=tmp_path) as results:
        await anext(results)

        with pytest.raises(LogUnavailable):
            await everything(tmp_path)


async def test_settings_can_be_given(log: EmbeddedLog, tmp_path: Path):
    """Settings in hand are used as they are."""
    settings = Settings(data_dir=tmp_path)

    async with subscribe("billing", settings=settings, follow=False) as results:
        assert 3 == len([result async for result in results])


async def test_a_folder_without_a_log_is_told(tmp_path: Path):
    """A wrong folder is an error at the first result, not an endless wait."""
    with pytest.raises(LogUnavailable):
        await everything(tmp_path / "nowhere")


@pytest.mark.parametrize("group", ["", "a/b", "x" * 65, *sorted(SERVICE_GROUPS)])
def test_a_group_needs_a_name_of_its_own(group: str, tmp_path: Path):
    """A name that is none, or the service's own, is refused at once."""
    with pytest.raises(ConfigError):
        subscribe(group, data_dir=tmp_path)


def test_the_names_of_the_service_are_the_handlers():
    """Every handler's group is among those that nobody else may read in."""
    assert {Commands.name, Fetch.name, RecordEvents.name} == SERVICE_GROUPS


async def test_the_example_handles_each_result_once(log: EmbeddedLog, tmp_path: Path):
    """The program in examples/ prints a line per result, and goes on where it was."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("FAL_")}
    environ |= {"FAL_CONSUMER_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def run() -> str:
        command = [sys.executable, str(ROOT / "examples" / "on_result.py"), "billing", "--once"]
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    first = run()
    second = run()

    assert ("same lost\n", "") == (first, second)
