"""A full disk, and an I/O error on the log's file, under a running service."""

import os
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from consumer.app import open_log
from consumer.core.completion import delivery_from
from consumer.core.event import Topic, decode
from consumer.settings import Settings
from consumer.simulator import Simulator, SimulatorConfig, completion_body
from consumer.testing.rig import ServiceProcess
from tests.end_to_end.stage import ACCOUNT, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path, require) -> Iterator[Path]:
    """A file system of 24 MiB of its own, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        require("mount", f"no right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("reserve", ["4MiB", "0"])
async def test_a_full_disk_is_503_and_heals_by_itself(small_disk: Path, reserve: str):
    """With the reserve and without: no false 2xx, nothing acknowledged lost, then 2xx again."""
    async with _running(small_disk / "data", reserve) as post:
        assert 200 == await post(1000)
        ballast = small_disk / "ballast"
        _fill(ballast)

        async def refused():
            return await post(200_000) == 503

        await until(refused)
        still = [await post(200_000) for _ in range(10)]
        ballast.unlink()

        async def taken():
            return await post(1000) == 200

        await until(taken)
        assert 503 in still
        assert post.process.starts == 1
        await post.settle()


async def test_an_io_error_on_the_log_begins_a_new_file(tmp_path: Path):
    """Writes to the grown file fail: what was acknowledged stays, and 2xx come again."""
    async with _running(tmp_path / "data", "0") as post:
        for _ in range(40):
            assert 200 == await post(100_000)
        grown = max(path.stat().st_size for path in (tmp_path / "data" / "log").iterdir())
        resource.prlimit(post.process.pid, resource.RLIMIT_FSIZE, (grown, resource.RLIM_INFINITY))

        async def moved_on():
            await post(100_000)
            files = list((tmp_path / "data" / "log").glob("log-*.sqlite"))
            return len(files) > 1 and await post(1000) == 200

        await until(moved_on)
        resource.prlimit(
            post.process.pid,
            resource.RLIMIT_FSIZE,
            (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
        )
        await post.settle()


class _Poster:
    """Posts genuine deliveries and remembers each 2xx as a debt."""

    def __init__(self, process: ServiceProcess, simulator: Simulator) -> None:
        self.process = process
        self._simulator = simulator
        self._owed: dict[str, bytes] = {}
        self._count = 0

    async def __call__(self, size: int) -> int:
        self._count += 1
        request_id = f"44444444-4444-7444-8444-{self._count:012d}"
        body = completion_body(request_id, {"text": os.urandom(size // 2).hex()})
        signer = self._simulator.keys.signing
        headers = signer.sign_headers(request_id, ACCOUNT, int(time.time()), body)
        url = f"{self.process.url}/webhooks/fal"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            if answer.status == 200:
                self._owed[request_id] = body
            return answer.status

    async def settle(self) -> None:
        """Hold the log against the debts."""
        settings = Settings(data_dir=self.process.folder, log_reserve_bytes=0)
        held = {}
        async with open_log(settings) as log:
            async for record in log.read([Topic.COMPLETIONS]):
                event = decode(record.headers, record.value)
                held[delivery_from(event).headers.request_id] = record.value
        assert self._owed == {key: held.get(key) for key in self._owed}


@asynccontextmanager
async def _running(folder: Path, reserve: str) -> AsyncIterator[_Poster]:
    async with Simulator(SimulatorConfig(seed=1)) as simulator:
        process = ServiceProcess(
            folder,
            {
                "FAL_CONSUMER_ACCOUNTS": ACCOUNT,
                "FAL_CONSUMER_JWKS_URL": simulator.jwks_url,
                "FAL_CONSUMER_QUEUE_URL": simulator.url,
                "FAL_CONSUMER_LOG_RESERVE_BYTES": reserve,
            },
        )
        await process.start()
        try:
            yield _Poster(process, simulator)
        finally:
            await process.kill()


def _fill(ballast: Path) -> None:
    """Write until nothing fits any more."""
    with ballast.open("wb", buffering=0) as file:
        size = _MIB
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
