"""
Where settings come from: the environment and one TOML file, into values under field names.

Nothing is parsed here but the TOML itself; which names exist is an argument. Mistakes are
collected, one sentence each, and never quote a value.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from consumer.core.text import printable

PREFIX = "FAL_CONSUMER_"
CONFIG_NAME = "FAL_CONSUMER_CONFIG"
KEY_FORMS = ("fal_key", "fal_key_file", "fal_key_id", "fal_key_secret")

# A Kubernetes service named `fal-consumer…` puts names like these into every pod beside it.
# Source: Kubernetes docs, "Service", environment variables.
_INJECTED = re.compile(r"FAL_CONSUMER_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)")
_INJECTED_LINK = re.compile(r"FAL_CONSUMER_(\w+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)(://.*)?|[0-9.]+|[0-9a-f:]+")


class Given(NamedTuple):
    """A value as somebody gave it, and the name he used."""

    name: str
    value: Any
    origin: str


def env_name(field: str) -> str:
    """Return the environment name of a setting's field."""
    return field.upper() if field.startswith("fal_") else PREFIX + field.upper()


def given_settings(
    environ: Mapping[str, str], config_file: Path | None, fields: Mapping[str, Any]
) -> tuple[dict[str, Given], list[str]]:
    """
    Return what was given for each of `fields`, the environment before the file, and the mistakes.

    The file is `config_file`, else the one that FAL_CONSUMER_CONFIG names, else none. An
    empty text is no setting, except for lists, where it is the empty list.
    """
    mistakes: list[str] = []
    names = {env_name(field): field for field in (*KEY_FORMS, *fields)}
    path = config_file or (Path(environ[CONFIG_NAME]) if environ.get(CONFIG_NAME) else None)
    from_file = _given_by_file(path, names, mistakes) if path else {}
    from_environ = _given_by_environ(environ, names, mistakes)
    if from_environ.keys() & set(KEY_FORMS):
        from_file = {field: one for field, one in from_file.items() if field not in KEY_FORMS}
    given = {**from_file, **from_environ}
    _join_key(given, mistakes)
    return given, mistakes


def _given_by_environ(
    environ: Mapping[str, str], names: Mapping[str, str], mistakes: list[str]
) -> dict[str, Given]:
    given = {}
    for name, value in environ.items():
        if name in names:
            given[names[name]] = Given(name, value, "environment")
        elif name.startswith(PREFIX) and name != CONFIG_NAME and not _is_injected(name, value):
            mistakes.append(_unknown(name, {**names, CONFIG_NAME: ""}))
    return _without_empty(given)


def _is_injected(name: str, value: str) -> bool:
    if _INJECTED.fullmatch(name):
        return True
    return bool(_INJECTED_LINK.fullmatch(name) and _LINK_VALUE.fullmatch(value))


def _given_by_file(path: Path, names: Mapping[str, str], mistakes: list[str]) -> dict[str, Given]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        mistakes.append(f"{path}: cannot be read ({exc.strerror})")
        return {}
    except ValueError:
        # The parser's own message may quote the line, and with it a secret.
        mistakes.append(f"{path}: is not TOML in UTF-8")
        return {}
    given: dict[str, Given] = {}
    known = {name.removeprefix(PREFIX).lower(): field for name, field in names.items()}
    for key, value in document.items():
        field = known.get(key.lower().removeprefix(PREFIX.lower()))
        if field is None:
            mistakes.append(f"{path}: {_unknown(key, known)}")
        elif field in given:
            mistakes.append(f"{path}: {given[field].name} and {key} are the same setting")
        else:
            given[field] = Given(key, value, str(path))
    return _without_empty(given)


def _unknown(name: str, known: Mapping[str, str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"{printable(name[:80])}: no such setting; the nearest is {nearest[0]}"


def _without_empty(given: Mapping[str, Given]) -> dict[str, Given]:
    lists = ("accounts", "submit_endpoints", "cancel_running")
    return {field: one for field, one in given.items() if one.value != "" or field in lists}


def _join_key(given: dict[str, Given], mistakes: list[str]) -> None:
    """Make one `fal_key` of its two parts; say so when the credential is given twice or by half."""
    key_id, secret = given.pop("fal_key_id", None), given.pop("fal_key_secret", None)
    if (key_id is None) != (secret is None):
        mistakes.append("FAL_KEY_ID and FAL_KEY_SECRET: only one of them is set")
    forms: list[str] = [name for name in KEY_FORMS if name in given]
    forms += ["fal_key_id"] if key_id or secret else []
    if len(forms) > 1:
        mistakes.append(f"{' and '.join(map(env_name, forms))}: give one of them")
    elif key_id and secret:
        joined = f"{key_id.value}:{secret.value}"
        given["fal_key"] = Given("FAL_KEY_ID and FAL_KEY_SECRET", joined, key_id.origin)
