"""
Preparing the brokers' folders: the cluster's id, and the users' SCRAM passwords.
"""

import asyncio
import base64
import uuid
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence

from consumer.devservers.child import ServerNotStarted, on_leash
from consumer.devservers.java import java
from consumer.devservers.properties import Plan, Seat

FORMATTED_WITHIN_S = 30.0
# The formatter lives under a second: the quick compiler is enough.
JVM = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
TOOL = "kafka.tools.StorageTool"


async def format_folders(jars: str, plan: Plan) -> None:
    """Format every broker's folder for one new cluster. Raises `ServerNotStarted`."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
    arguments = ["format", f"--cluster-id={cluster_id}"]
    for name, password in (plan.users or {}).items():
        arguments += ["--add-scram", f'SCRAM-SHA-256=[name="{name}",password="{password}"]']
    try:
        async with asyncio.TaskGroup() as group:
            for seat in plan.seats:
                group.create_task(_format(jars, seat, arguments))
    except* ServerNotStarted as failed:
        raise failed.exceptions[0] from None


async def _format(jars: str, seat: Seat, arguments: Sequence[str]) -> None:
    file = str(seat.properties_file)
    command = [str(java()), *JVM, "-cp", jars, TOOL, *arguments, "--config", file]
    process = await asyncio.create_subprocess_exec(*on_leash(command), stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(FORMATTED_WITHIN_S):
            said, _ = await process.communicate()
    except TimeoutError:
        problem = f"broker {seat.node} not formatted in {FORMATTED_WITHIN_S:.0f} s"
        raise ServerNotStarted(problem) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        reason = said.decode("utf-8", "replace").strip()
        raise ServerNotStarted(f"broker {seat.node} could not be formatted: {reason}")
