"""
The image, built and run without a Docker engine: is it what docs/deploy.md says?

It is built by buildah in chroot isolation, on a base of this machine's own making unless one
is named, and tried as its own user: `check --offline`, a short `demo`, and a role as compose
runs it: process number 1, file system read-only, no capability, no network.
Needs Python 3.11 or newer and nothing else of this project.
Run as root: python deploy/image_test.py [--base IMAGE] [--requests N]
"""

# ruff: noqa: INP001, S603, S607, T201 - a script that runs programs by name and tells of it

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fal-consumer-image"
BASE = "localhost/fal-consumer-base"
IMAGE = "localhost/fal-consumer"
USER_ID = 10001
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
TOOLS = ("buildah", "unshare", "nsenter", "chroot", "mount", "ip")
TLS_FILES = (Path("/etc/pip.conf"), Path(os.environ.get("SSL_CERT_FILE", "/none")))
# Where pip learns of a private certificate authority; mounted into the build, never copied.
HEALTHY_WITHIN_S, STOPPED_WITHIN_S = 30, 40
EMULATION = """
set -e
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$data" "$root/data"
mount -o remount,bind,ro "$root"
ip link set lo up
cd /
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups \\
  --inh-caps=-all --bounding-set=-all --no-new-privs env -i "$@"
"""
# What an engine does with `read_only`, `tmpfs`, `cap_drop: [ALL]` and `no-new-privileges`.
WITHOUT_BROKER = {
    "FAL_CONSUMER_LOG_URL": "kafka://127.0.0.1:9092",
    "FAL_CONSUMER_ACCOUNTS": "github|1234567",
    "FAL_CONSUMER_TOKEN_SECRETS_FILE": "/data/secrets",
}
# A receiver starts with Kafka absent, and accepts into its spool.


@dataclass
class Steps:
    """What was done, how long it took, and what came of it."""

    rows: list[tuple[str, float, str]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; the last text that is put into the list is told with it."""
        print(f"--- {name}", flush=True)
        found: list[str] = []
        started = time.monotonic()
        yield found
        self.rows.append((name, time.monotonic() - started, found[-1] if found else "done"))

    def show(self) -> None:
        """Print a line for each step."""
        width = max(len(name) for name, _, _ in self.rows)
        print()
        for name, seconds, text in self.rows:
            print(f"{name:{width}}  {seconds:6.1f} s  {text}")


def expect(condition: object, sentence: str) -> None:
    """Leave with 1 and the sentence where the condition does not hold."""
    if not condition:
        print(f"image-test: {sentence}", file=sys.stderr)
        sys.exit(1)


def require_machine(*, makes_base: bool) -> None:
    """Leave with 2 and a sentence where this machine cannot do it."""
    tools = (*TOOLS, "debootstrap") if makes_base else TOOLS
    missing = [tool for tool in tools if shutil.which(tool) is None]
    problem = None
    if missing:
        problem = f"{', '.join(missing)} missing (Debian: apt-get install buildah debootstrap)"
    elif os.geteuid() != 0:
        problem = "run it as root: it makes file systems and changes into them"
    if problem:
        print(f"image-test: {problem}", file=sys.stderr)
        sys.exit(2)


def buildah(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run buildah on a storage of our own."""
    storage = [f"--root={CACHE}/storage", f"--runroot={CACHE}/run", "--storage-driver=vfs"]
    return subprocess.run(["buildah", *storage, *arguments], check=True, text=True, **options)


def output_of(*arguments: str | Path) -> str:
    """Return what buildah prints."""
    return buildah(*arguments, stdout=subprocess.PIPE).stdout.strip()


def make_base() -> str:
    """Return the name of a base with Debian's Python, made once and kept in the cache."""
    if BASE in output_of("images", "--format", "{{.Name}}").split():
        return "from the cache"
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run(
            ["debootstrap", "--variant=minbase", packages, SUITE, folder, MIRROR],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        container = output_of("from", "scratch")
        buildah("add", "--quiet", container, f"{folder}/", "/", stdout=subprocess.DEVNULL)
        buildah("commit", "--quiet", "--rm", container, BASE, stdout=subprocess.DEVNULL)
    return f"Debian {SUITE}"


def build(base: str) -> str:
    """Build the image, and return the sizes of base and image."""
    mounts = [f"--volume={file}:{file}:ro" for file in TLS_FILES if file.is_file()]
    how = ["--format=docker", "--isolation=chroot", "--network=host", *mounts]
    buildah("bud", "--quiet", *how, f"--build-arg=BASE={base}", f"--tag={IMAGE}", ROOT)
    sizes = [_size_mb(name) for name in (base, IMAGE)]
    return f"{sizes[1]} MB, {sizes[1] - sizes[0]} MB of them on top of the base"


def _size_mb(name: str) -> int:
    """Return what the image's files take, in 10^6 bytes."""
    container = output_of("from", "--pull-never", name)
    try:
        folder = Path(output_of("mount", container))
        files = (path.lstat() for path in folder.rglob("*"))
        kept = {one.st_ino: one.st_blocks * 512 for one in files}
    finally:
        buildah("rm", container, stdout=subprocess.DEVNULL)
    return round(sum(kept.values()) / 1e6)


# ---------------------------------------------------------------- runs


def run_in(container: str, *command: str) -> str:
    """Run a command in the image as the image's own user, and return what it prints."""
    how = ["--isolation=chroot", "--network=host"]
    done = buildah("run", *how, container, "--", *command, stdout=subprocess.PIPE)
    return done.stdout.strip()


def see_user(container: str) -> str:
    """Return who runs in the image, having seen that it is nobody who may write outside /data."""
    probe = "import os; print(os.getuid(), os.getcwd(), *(p for p in ('/', '/opt', '/data') if os.access(p, os.W_OK)))"  # noqa: E501
    found = run_in(container, "python", "-c", probe)
    expect(found == f"{USER_ID} /data /data", f"not a plain user with a folder of his own: {found}")
    return f"uid {USER_ID}, may write /data alone"


def see_check(container: str) -> str:
    """Return how many rows `check --offline` has; it ends with 0 or this run ends."""
    rows = run_in(container, "fal-consumer", "check", "--offline", "--json").splitlines()
    return f"exit code 0, {len(rows)} rows"


def see_demo(container: str, requests: int) -> str:
    """Return the demo's last words; it ends with 0 or this run ends."""
    told = run_in(container, "fal-consumer", "demo", "--requests", str(requests))
    print(told)
    return f"exit code 0: {told.splitlines()[-1]}"


def see_role(container: str, *command: str, **settings: str) -> str:
    """Return how a role started, was found healthy and stopped, run as an engine would."""
    config = json.loads(output_of("inspect", "--type=image", IMAGE))["Docker"]["config"]
    root = output_of("mount", container)
    given = [*config["Env"], *(f"{name}={value}" for name, value in settings.items())]
    with tempfile.TemporaryDirectory(dir=CACHE) as data:
        os.chown(data, USER_ID, USER_ID)
        if command:
            _put_secret(Path(data) / "secrets")
        started = time.monotonic()
        outside = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c",
             EMULATION, "sh", *given, *config["Entrypoint"], *(command or config["Cmd"])],
            env=os.environ | {"root": root, "data": data, "user": str(USER_ID)},
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            pid = _wait_until_healthy(outside, config["Healthcheck"]["Test"])
            healthy = time.monotonic()
            os.kill(pid, 15)
            _, lines = outside.communicate(timeout=STOPPED_WITHIN_S)
        finally:
            outside.kill()
        stopped_s = time.monotonic() - healthy
        owners = {path.stat().st_uid for path in Path(data).rglob("*")}
    expect(outside.returncode == 0, f"exit code {outside.returncode} after SIGTERM:\n{lines}")
    expect(owners == {USER_ID}, f"files of {owners} in the volume")
    return f"healthy after {healthy - started:.1f} s, exit code 0 {stopped_s:.1f} s after SIGTERM"


def _put_secret(path: Path) -> None:
    """Write a secret of callback tokens, which roles of more than one process must share."""
    path.write_text(secrets.token_hex(32) + "\n")
    path.chmod(0o400)
    os.chown(path, USER_ID, USER_ID)


def _wait_until_healthy(outside: "subprocess.Popen[str]", test: Sequence[str]) -> int:
    """Return the process number of the role, as seen from here, once its health check holds."""
    until = time.monotonic() + HEALTHY_WITHIN_S
    kind, *command = test
    expect(kind == "CMD", f"a health check in exec form, not {kind}")
    while time.monotonic() < until and outside.poll() is None:
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        if children and _is_healthy(children[0], command):
            return int(children[0])
        time.sleep(0.2)
    outside.kill()
    expect(condition=False, sentence=f"not healthy:\n{outside.communicate()[1]}")
    raise AssertionError


def _is_healthy(pid: str, command: Sequence[str]) -> bool:
    """Tell whether the health check holds inside the namespaces of a process."""
    user = [f"--setuid={USER_ID}", f"--setgid={USER_ID}"]
    inside = ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--root", *user]
    python = "/opt/fal-consumer/bin/" + command[0]
    done = subprocess.run([*inside, python, *command[1:]], check=False, capture_output=True)
    return done.returncode == 0


def see_all(steps: Steps, base: str | None, requests: int) -> None:
    """Build the image and try it; each step is told."""
    if base is None:
        with steps.step("base") as found:
            found.append(make_base())
    with steps.step("build") as found:
        found.append(build(base or BASE))
    container = output_of("from", "--pull-never", IMAGE)
    try:
        with steps.step("user") as found:
            found.append(see_user(container))
        with steps.step("check --offline") as found:
            found.append(see_check(container))
        with steps.step("demo") as found:
            found.append(see_demo(container, requests))
        with steps.step("serve as number 1") as found:
            found.append(see_role(container))
        with steps.step("receive as number 1") as found:
            found.append(see_role(container, "receive", **WITHOUT_BROKER))
    finally:
        buildah("rm", container, stdout=subprocess.DEVNULL)
        buildah("rmi", "--prune", "--force", stdout=subprocess.DEVNULL)


def main() -> None:
    """Build, run, tell. Exit code 0: the image does what it should; 1: not; 2: not possible."""
    parser = argparse.ArgumentParser(description="Build the image and try it, without an engine.")
    parser.add_argument("--base", help="an image to build on instead of a Debian of our own")
    parser.add_argument("--requests", type=int, default=100, help="how many jobs the demo plays")
    chosen = parser.parse_args()
    require_machine(makes_base=chosen.base is None)
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    steps = Steps()
    try:
        see_all(steps, chosen.base, chosen.requests)
    except subprocess.CalledProcessError as exc:
        expect(
            condition=False, sentence=f"exit code {exc.returncode} of {exc.cmd}\n{exc.stdout or ''}"
        )
    steps.show()


if __name__ == "__main__":
    main()
