"""
The settings: one flat frozen type, and the one place that reads environment and files for it.

Everything is parsed before anything is complained about; `ConfigError` holds every mistake.
No sentence shows a value, only its shape: any value may be a secret in the wrong place.
Only `cli` and `app` import this module; everything below them receives plain values.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.core.token import MIN_SECRET_BYTES
from consumer.errors import ConfigError
from consumer.settings.sources import Given, env_name, given_settings
from consumer.settings.values import (
    GIB,
    KIB,
    MIB,
    Accounts,
    Address,
    CancelRules,
    Endpoints,
    File,
    LedgerUrl,
    MediaHosts,
    NoListener,
    TopicPrefix,
    Url,
    VisibleText,
    count,
    one_of,
    parse_address,
    parse_bool,
    parse_console,
    parse_days,
    parse_log_url,
    parse_span,
    seconds,
    size,
)

__all__ = [
    "Address",
    "NoListener",
    "Role",
    "SettingRow",
    "Settings",
    "env_name",
    "load_settings",
    "mistakes_for",
    "read_token_secrets",
]


class Role(StrEnum):
    """Which process starts; each has needs of its own."""

    SERVE = "serve"
    RECEIVE = "receive"
    WORK = "work"


class SettingRow(NamedTuple):
    """One setting as `check` shows it: secrets are `***`, `origin` says where it came from."""

    name: str
    value: str
    origin: str


class Settings(BaseSettings):
    """
    Everything an operator can choose. Names, meanings and defaults are the product's interface.

    Built by `load_settings`; built directly (tests, demo) it takes plain values and reads
    no environment. A field `x` is `FAL_CONSUMER_X`, those that begin with `fal_` are `FAL_…`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    fal_key: Annotated[SecretStr, VisibleText] | None = None
    fal_key_file: File | None = None  # read again when fal answers 401
    listen: Annotated[Address, BeforeValidator(parse_address)] = Address("0.0.0.0", 8080)  # noqa: S104
    console_listen: Annotated[Address | NoListener | None, BeforeValidator(parse_console)] = None
    console_tokens_file: File | None = None  # generated in the data folder
    public_url: Url | None = None
    accounts: Annotated[tuple[str, ...], Accounts] = ()
    token_secrets_file: File | None = None  # generated in the data folder
    data_dir: File = Path("data")
    log_url: Annotated[str, BeforeValidator(parse_log_url)] = "embedded:"
    kafka_security_protocol: Annotated[
        str, one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[str, one_of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")] = (
        "PLAIN"
    )
    kafka_sasl_username: Annotated[SecretStr, VisibleText] | None = None
    kafka_sasl_password_file: File | None = None
    kafka_ssl_ca_file: File | None = None
    kafka_ssl_cert_file: File | None = None
    kafka_ssl_key_file: File | None = None
    kafka_single_broker: Annotated[bool, BeforeValidator(parse_bool)] = False
    topic_prefix: Annotated[str, TopicPrefix] = "fal."
    ledger_url: Annotated[SecretStr, LedgerUrl] = SecretStr("sqlite:")  # may hold a password
    ledger_password_file: File | None = None
    ledger_keep_days: Annotated[int | None, BeforeValidator(parse_days)] = None
    jwks_url: Url = "https://rest.fal.ai/.well-known/jwks.json"
    queue_url: Url = "https://queue.fal.run"
    api_url: Url = "https://api.fal.ai/v1"
    submit_endpoints: Annotated[tuple[str, ...] | None, Endpoints] = None  # see `may_submit`
    cancel_queued_after: Annotated[timedelta | None, BeforeValidator(parse_span)] = None
    cancel_running: Annotated[tuple[str, ...], CancelRules] = ("finish_deadline",)
    cancels_per_minute: Annotated[int, count(0, 10**6)] = 100
    commands_per_minute: Annotated[int | None, count(1, 10**6)] = None
    max_open_requests: Annotated[int | None, count(1, 10**9)] = None
    account_sweep: Annotated[bool, BeforeValidator(parse_bool)] = True
    # Bodies: fal names no limit; recorded ones are under 1 KiB, inlined media reach megabytes.
    max_body_bytes: Annotated[int, size(KIB, 64 * MIB)] = 10 * MIB
    max_reading_bytes: Annotated[int, size(MIB, 16 * GIB)] = 256 * MIB
    # fal waits 15 s for an answer (fal docs, "Webhooks", 2026-09): publishing stays far below.
    publish_timeout_s: Annotated[float, seconds(0.05, 10)] = 2.0
    spool_max_bytes: Annotated[int, size(MIB, 1024 * GIB, or_zero=True)] = GIB
    log_max_bytes: Annotated[int, size(MIB, 64 * 1024 * GIB)] = 20 * GIB
    log_reserve_bytes: Annotated[int, size(MIB, 1024 * GIB, or_zero=True)] = 512 * MIB
    first_check_s: Annotated[float, seconds(0.01, 86400)] = 60.0
    not_found_gap_s: Annotated[float, seconds(0.01, 86400)] = 300.0
    unconfirmed_after_s: Annotated[float, seconds(0.01, 30 * 86400)] = 86400.0
    submit_timeout_s: Annotated[float, seconds(0.05, 600)] = 60.0
    fetch_patience_s: Annotated[float, seconds(0.01, 86400)] = 600.0
    media_hosts: Annotated[tuple[str, ...], MediaHosts] = ()  # besides fal's own
    media_max_file_bytes: Annotated[int, size(KIB, 1024 * GIB)] = 2 * GIB
    media_max_total_bytes: Annotated[int, size(KIB, 1024 * GIB)] = 10 * GIB
    stop_timeout_s: Annotated[float, seconds(0.05, 3600)] = 25.0
    log_level: Annotated[str, one_of("debug", "info", "warning", "error")] = "info"
    log_format: Annotated[str, one_of("console", "json")] | None = None  # None: by terminal

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let only arguments count: `load_settings` hands over what it was given to read."""
        return (init_settings,)

    @property
    def is_embedded(self) -> bool:
        """Tell whether the log is the embedded one."""
        return self.log_url == "embedded:"

    @property
    def is_sqlite(self) -> bool:
        """Tell whether the ledger is the SQLite file of the data folder."""
        return self.ledger_url.get_secret_value() == "sqlite:"

    @property
    def has_fal_key(self) -> bool:
        """Tell whether a fal credential is configured, in whichever form."""
        return self.fal_key is not None or self.fal_key_file is not None

    def may_submit(self, endpoint: str) -> bool:
        """Tell whether `endpoint` may be submitted: the list; without one any, if embedded."""
        if self.submit_endpoints is None:
            return self.is_embedded
        return endpoint in self.submit_endpoints

    def console_for(self, role: Role) -> Address | None:
        """Return where the console of this role listens, None for nowhere."""
        if self.console_listen is None:
            return Address("127.0.0.1", 8081 if role is Role.SERVE else 0)
        return None if isinstance(self.console_listen, NoListener) else self.console_listen

    def shown(self, field: str) -> str:
        """Return a setting's value as it may be shown to anybody."""
        return _shown(getattr(self, field))

    def describe(self) -> Sequence[SettingRow]:
        """Return every setting by its environment name, in the order of the type."""
        return [
            SettingRow(env_name(field), self.shown(field), self._origins.get(field, "default"))
            for field in type(self).model_fields
        ]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return _without_password(value.get_secret_value())
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if type(value) is tuple else str(value)


def _without_password(text: str) -> str:
    """Return a database address without user, password and query; of any other secret nothing."""
    if text == "sqlite:":
        return text
    if not text.startswith("postgresql://"):
        return "***"
    rest = text.removeprefix("postgresql://")
    user, _, place = rest.rpartition("@")
    return f"postgresql://{'***@' if user else ''}{place.partition('?')[0]}"


# ---------------------------------------------------------------- loading


def load_settings(environ: Mapping[str, str], config_file: Path | None = None) -> Settings:
    """
    Return the settings of an environment and of a TOML file; the environment wins.

    The file is `config_file`, else the one that FAL_CONSUMER_CONFIG names, else none; its
    keys are the field names. Raises ConfigError with every mistake at once.
    """
    given, mistakes = given_settings(environ, config_file, Settings.model_fields)
    settings, failed = _validated(given, mistakes)
    mistakes += [
        sentence
        for fields, sentence in (*_contradictions(settings), *_unreadable(settings))
        if not failed & set(fields)
    ]
    if mistakes:
        raise ConfigError(mistakes)
    settings._origins = {field: one.origin for field, one in given.items()}  # noqa: SLF001
    return settings


def _validated(given: Mapping[str, Given], mistakes: list[str]) -> tuple[Settings, set[str]]:
    """Return settings of all that is valid, and the fields that are not."""
    try:
        return Settings(**{field: one.value for field, one in given.items()}), set()
    except ValidationError as exc:
        failed = {}
        for error in exc.errors(include_url=False, include_input=False):
            field = str(error["loc"][0])
            failed[field] = error.get("ctx", {}).get("error", error["msg"])
    for field, expected in failed.items():
        one = given[field]
        mistakes.append(f"{one.name} ({one.origin}): {_shape(one.value)}; expected {expected}")
    valid = {field: one.value for field, one in given.items() if field not in failed}
    return Settings(**valid), set(failed)


def _shape(value: Any) -> str:
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", dict: "a table"}
    return kinds.get(type(value), "a date or time")


_Mistakes = Iterator[tuple[Sequence[str], str]]
# Each with the fields it rests on: where one of them is invalid, it is not said.


def _contradictions(settings: Settings) -> _Mistakes:
    if settings.max_reading_bytes < settings.max_body_bytes:
        fields = ("max_reading_bytes", "max_body_bytes")
        yield fields, f"{env_name(fields[0])}: smaller than {env_name(fields[1])}"
    if settings.kafka_security_protocol.startswith("SASL"):
        for field in ("kafka_sasl_username", "kafka_sasl_password_file"):
            if getattr(settings, field) is None:
                yield (
                    (field, "kafka_security_protocol"),
                    f"{env_name(field)}: missing; {env_name('kafka_security_protocol')} needs it",
                )
    if (settings.kafka_ssl_cert_file is None) != (settings.kafka_ssl_key_file is None):
        fields = ("kafka_ssl_cert_file", "kafka_ssl_key_file")
        yield fields, f"{env_name(fields[0])} and {env_name(fields[1])}: only one of them is set"


def _unreadable(settings: Settings) -> _Mistakes:
    names = [name for name in Settings.model_fields if name.endswith("_file")]
    # FAL_KEY_FILE is judged by `mistakes_for`: a receiver does not read it.
    for field in (name for name in names if name != "fal_key_file"):
        path = getattr(settings, field)
        sentence = _file_mistake(field, path) if path else None
        if sentence:
            yield (field,), sentence
    if settings.token_secrets_file is not None and settings.token_secrets_file.is_file():
        try:
            read_token_secrets(settings.token_secrets_file)
        except ConfigError as exc:
            yield ("token_secrets_file",), str(exc)


def _file_mistake(field: str, path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as exc:
        return f"{env_name(field)}: the file cannot be read ({exc.strerror})"
    return None


def read_token_secrets(path: Path) -> tuple[bytes, ...]:
    """
    Return the secrets of callback tokens, one a line: the first signs, all verify.

    Raises ConfigError when there is none, or one is shorter than 32 bytes.
    """
    name = env_name("token_secrets_file")
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as exc:
        raise ConfigError([f"{name}: the file cannot be read ({exc.strerror})"]) from exc
    secrets = tuple(line for line in lines if line)
    if not secrets:
        raise ConfigError([f"{name}: the file holds no secret"])
    if any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
        raise ConfigError([f"{name}: a line is shorter than {MIN_SECRET_BYTES} bytes"])
    return secrets


# ---------------------------------------------------------------- what each role needs


def mistakes_for(role: Role, settings: Settings) -> list[str]:
    """Return why this role cannot start with these settings, one sentence per mistake."""
    mistakes = []
    if role is not Role.SERVE and settings.is_embedded:
        mistakes.append(f"{env_name('log_url')}: embedded: works with serve only; give kafka://…")
    if role is Role.RECEIVE and not settings.accounts:
        mistakes.append(
            f"{env_name('accounts')}: missing; receive accepts configured accounts only"
        )
    if not settings.is_embedded and settings.token_secrets_file is None:
        name = env_name("token_secrets_file")
        mistakes.append(f"{name}: missing; with kafka:// every process needs the same secrets")
    if role is not Role.RECEIVE and settings.fal_key_file is not None:
        mistakes.append(_file_mistake("fal_key_file", settings.fal_key_file) or "")
    return [sentence for sentence in mistakes if sentence]
