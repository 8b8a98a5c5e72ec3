"""What verbs begin with: signals, files, loops."""

import asyncio
import os
import signal
import sys

import click
import pytest

from consumer.cli.setup import content, run_loop, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop(number: signal.Signals):
    """A signal sets the event, and afterwards the old handling is back."""

    async def work() -> bool:
        stop = asyncio.Event()
        with stop_on_signals(stop):
            os.kill(os.getpid(), number)
            async with asyncio.timeout(30):
                await stop.wait()
        return stop.is_set()

    before = signal.getsignal(signal.SIGTERM)

    assert run_loop(work())
    assert before == signal.getsignal(signal.SIGTERM)


def test_the_second_signal_ends_at_once(start_python):
    """A second signal ends the process with 128 and its number, whatever it is doing."""
    code = """
import asyncio, os, signal
from consumer.cli.setup import run_loop, stop_on_signals

async def work():
    stop = asyncio.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

run_loop(work())
"""

    assert 128 + signal.SIGINT == start_python(code)


def test_the_fast_loop_runs_the_same_work():
    """With `fast` the work runs on uvloop, where it is installed."""

    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run_loop(kind(), fast=True).startswith("uvloop" if "uvloop" in sys.modules else "async")
    assert run_loop(kind()).startswith("asyncio")


def test_a_file_option_becomes_its_bytes(tmp_path):
    """The bytes of a file are returned, None where the option was not given."""
    (tmp_path / "file").write_bytes(b"\x00\xff")
    context, option = click.Context(click.Command("x")), click.Option(["--x"])

    assert b"\x00\xff" == content(context, option, str(tmp_path / "file"))
    assert content(context, option, None) is None
    with pytest.raises(click.BadParameter):
        content(context, option, str(tmp_path))
