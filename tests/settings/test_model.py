"""The settings: what counts, what is refused, and that no sentence shows a value."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumer.errors import ConfigError
from consumer.settings import (
    Address,
    Role,
    Settings,
    env_name,
    load_settings,
    mistakes_for,
    read_token_secrets,
)

SECRET = "hunter2-hunter2-hunter2"  # stands for what nobody may see

# Names and defaults of the product's interface.
DEFAULTS = {
    "FAL_KEY": "",
    "FAL_KEY_FILE": "",
    "FAL_CONSUMER_LISTEN": "0.0.0.0:8080",
    "FAL_CONSUMER_CONSOLE_LISTEN": "",
    "FAL_CONSUMER_CONSOLE_TOKENS_FILE": "",
    "FAL_CONSUMER_PUBLIC_URL": "",
    "FAL_CONSUMER_ACCOUNTS": "",
    "FAL_CONSUMER_TOKEN_SECRETS_FILE": "",
    "FAL_CONSUMER_DATA_DIR": "data",
    "FAL_CONSUMER_LOG_URL": "embedded:",
    "FAL_CONSUMER_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    "FAL_CONSUMER_KAFKA_SASL_MECHANISM": "PLAIN",
    "FAL_CONSUMER_KAFKA_SASL_USERNAME": "",
    "FAL_CONSUMER_KAFKA_SASL_PASSWORD_FILE": "",
    "FAL_CONSUMER_KAFKA_SSL_CA_FILE": "",
    "FAL_CONSUMER_KAFKA_SSL_CERT_FILE": "",
    "FAL_CONSUMER_KAFKA_SSL_KEY_FILE": "",
    "FAL_CONSUMER_KAFKA_SINGLE_BROKER": "false",
    "FAL_CONSUMER_TOPIC_PREFIX": "fal.",
    "FAL_CONSUMER_LEDGER_URL": "sqlite:",
    "FAL_CONSUMER_LEDGER_PASSWORD_FILE": "",
    "FAL_CONSUMER_LEDGER_KEEP_DAYS": "",
    "FAL_CONSUMER_JWKS_URL": "https://rest.fal.ai/.well-known/jwks.json",
    "FAL_CONSUMER_QUEUE_URL": "https://queue.fal.run",
    "FAL_CONSUMER_API_URL": "https://api.fal.ai/v1",
    "FAL_CONSUMER_SUBMIT_ENDPOINTS": "",
    "FAL_CONSUMER_CANCEL_QUEUED_AFTER": "",
    "FAL_CONSUMER_CANCEL_RUNNING": "finish_deadline",
    "FAL_CONSUMER_CANCELS_PER_MINUTE": "100",
    "FAL_CONSUMER_COMMANDS_PER_MINUTE": "",
    "FAL_CONSUMER_MAX_OPEN_REQUESTS": "",
    "FAL_CONSUMER_ACCOUNT_SWEEP": "true",
    "FAL_CONSUMER_MAX_BODY_BYTES": "10485760",
    "FAL_CONSUMER_MAX_READING_BYTES": "268435456",
    "FAL_CONSUMER_PUBLISH_TIMEOUT_S": "2.0",
    "FAL_CONSUMER_SPOOL_MAX_BYTES": "1073741824",
    "FAL_CONSUMER_LOG_MAX_BYTES": "21474836480",
    "FAL_CONSUMER_LOG_RESERVE_BYTES": "536870912",
    "FAL_CONSUMER_FIRST_CHECK_S": "60.0",
    "FAL_CONSUMER_NOT_FOUND_GAP_S": "300.0",
    "FAL_CONSUMER_UNCONFIRMED_AFTER_S": "86400.0",
    "FAL_CONSUMER_SUBMIT_TIMEOUT_S": "60.0",
    "FAL_CONSUMER_FETCH_PATIENCE_S": "600.0",
    "FAL_CONSUMER_MEDIA_HOSTS": "",
    "FAL_CONSUMER_MEDIA_MAX_FILE_BYTES": "2147483648",
    "FAL_CONSUMER_MEDIA_MAX_TOTAL_BYTES": "10737418240",
    "FAL_CONSUMER_STOP_TIMEOUT_S": "25.0",
    "FAL_CONSUMER_LOG_LEVEL": "info",
    "FAL_CONSUMER_LOG_FORMAT": "",
}


def settings_of(**given: str) -> Settings:
    """Settings of an environment, names without their prefix where they have it."""
    return load_settings({env_name(field): value for field, value in given.items()})


def mistakes_of(environ: dict[str, str], config_file: Path | None = None) -> tuple[str, ...]:
    """Every mistake of an environment."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(environ, config_file)
    return wrong.value.mistakes


# ---------------------------------------------------------------- names, defaults, origins


def test_defaults_are_the_products_interface():
    """Without any setting, every name has its documented default, and says so."""
    rows = load_settings({}).describe()

    assert {row.name: row.value for row in rows} == DEFAULTS
    assert {row.origin for row in rows} == {"default"}


def test_settings_never_change():
    """Settings are frozen."""
    with pytest.raises(ValidationError):
        load_settings({}).accounts = ("x",)


def test_constructor_reads_no_environment(monkeypatch):
    """Built directly, settings hold what they were given and nothing of the surroundings."""
    monkeypatch.setenv("FAL_CONSUMER_ACCOUNTS", "github|1")
    monkeypatch.setenv("ACCOUNTS", "github|2")

    assert Settings().accounts == ()


# ---------------------------------------------------------------- mistakes


def test_every_mistake_is_told_at_once(tmp_path):
    """Unknown names, bad values, contradictions and unreadable files come in one error."""
    path = tmp_path / "consumer.toml"
    path.write_text('lisen = "x"\nlog_level = "loud"\n')
    environ = {
        "FAL_CONSUMER_ACOUNTS": "x",
        "FAL_CONSUMER_PUBLISH_TIMEOUT_S": "99",
        "FAL_CONSUMER_MAX_READING_BYTES": "2MiB",
        "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(tmp_path / "absent"),
        "FAL_KEY_ID": "id",
    }

    assert mistakes_of(environ, path) == (
        f"{path}: lisen: no such setting; the nearest is listen",
        "FAL_CONSUMER_ACOUNTS: no such setting; the nearest is FAL_CONSUMER_ACCOUNTS",
        "FAL_KEY_ID and FAL_KEY_SECRET: only one of them is set",
        (
            "FAL_CONSUMER_PUBLISH_TIMEOUT_S (environment): a text of 2 characters; "
            "expected seconds from 0.05 to 10, like 90, 90s or 2m"
        ),
        f"log_level ({path}): a text of 4 characters; expected one of debug, info, warning, error",
        "FAL_CONSUMER_MAX_READING_BYTES: smaller than FAL_CONSUMER_MAX_BODY_BYTES",
        "FAL_CONSUMER_TOKEN_SECRETS_FILE: the file cannot be read (No such file or directory)",
    )


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_no_sentence_shows_the_value(field):
    """A secret in the wrong place is not printed, wherever the place."""
    for value in (f"{SECRET} {SECRET}", f"{SECRET}\x00"):
        try:
            settings = load_settings({env_name(field): value})
        except ConfigError as wrong:
            assert SECRET not in str(wrong)  # noqa: PT017
        else:  # a path may be anything
            assert field in ("data_dir", "fal_key_file")
            assert SECRET not in " ".join(mistakes_for(Role.SERVE, settings))


@given(
    environ=st.dictionaries(
        st.sampled_from([env_name(field) for field in Settings.model_fields])
        | st.text(max_size=8).map("FAL_CONSUMER_{}".format),
        st.text(max_size=30),
        max_size=4,
    )
)
def test_any_environment_is_settings_or_mistakes(environ):
    """Whatever the environment holds, the answer is settings or a ConfigError."""
    try:
        assert isinstance(load_settings(environ), Settings)
    except ConfigError as wrong:
        assert wrong.mistakes  # noqa: PT017


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "environ",
    [
        {"FAL_KEY": SECRET},
        {"FAL_KEY_ID": "id", "FAL_KEY_SECRET": SECRET},
        {"FAL_CONSUMER_LEDGER_URL": f"postgresql://me:{SECRET}@db/x?password={SECRET}"},
        {"FAL_CONSUMER_KAFKA_SASL_USERNAME": SECRET},
    ],
)
def test_secrets_are_never_shown(environ):
    """Neither the settings nor their rows show a secret."""
    settings = load_settings(environ)

    assert SECRET not in f"{settings!r} {settings} {settings.describe()}"


def test_database_address_is_shown_without_its_user():
    """Where the ledger is can be seen; who asks, and with what, cannot."""
    rows = settings_of(ledger_url="postgresql://me:pw@db.example:5432/fal?sslmode=on").describe()

    shown = {row.name: row.value for row in rows}
    assert shown["FAL_CONSUMER_LEDGER_URL"] == "postgresql://***@db.example:5432/fal"
    assert shown["FAL_KEY"] == ""


def test_token_secrets_are_lines(tmp_path):
    """Each line that is not empty is a secret, in order."""
    path = tmp_path / "secrets"
    path.write_bytes(b"a" * 32 + b"\n\n" + b"b" * 40 + b"\r\n")

    assert read_token_secrets(path) == (b"a" * 32, b"b" * 40)


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"a" * 32 + b"\n" + b"b" * 31])
def test_weak_token_secrets_are_a_mistake(tmp_path, content):
    """A file without a secret, or with a short one, does not start the service."""
    path = tmp_path / "secrets"
    path.write_bytes(content)

    (mistake,) = mistakes_of({"FAL_CONSUMER_TOKEN_SECRETS_FILE": str(path)})

    assert mistake.startswith("FAL_CONSUMER_TOKEN_SECRETS_FILE: ")
    with pytest.raises(ConfigError):
        read_token_secrets(path)


def test_absent_token_secrets_are_a_config_error(tmp_path):
    """Reading secrets that are not there is the operator's mistake."""
    with pytest.raises(ConfigError):
        read_token_secrets(tmp_path / "absent")


# ---------------------------------------------------------------- contradictions and roles


def test_sasl_needs_user_and_password():
    """SASL without its credentials names both."""
    assert mistakes_of({"FAL_CONSUMER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}) == (
        "FAL_CONSUMER_KAFKA_SASL_USERNAME: missing; FAL_CONSUMER_KAFKA_SECURITY_PROTOCOL needs it",
        (
            "FAL_CONSUMER_KAFKA_SASL_PASSWORD_FILE: missing; "
            "FAL_CONSUMER_KAFKA_SECURITY_PROTOCOL needs it"
        ),
    )


def test_client_certificate_needs_its_key(tmp_path):
    """Half of a client certificate is a mistake."""
    path = tmp_path / "cert"
    path.touch()

    assert mistakes_of({"FAL_CONSUMER_KAFKA_SSL_CERT_FILE": str(path)}) == (
        (
            "FAL_CONSUMER_KAFKA_SSL_CERT_FILE and FAL_CONSUMER_KAFKA_SSL_KEY_FILE: "
            "only one of them is set"
        ),
    )


def test_serve_needs_nothing():
    """One process on the embedded log starts without any setting."""
    assert mistakes_for(Role.SERVE, load_settings({})) == []


def test_receive_needs_accounts_and_a_shared_log():
    """A public receiver says whose deliveries it takes, and where they go."""
    assert mistakes_for(Role.RECEIVE, load_settings({})) == [
        "FAL_CONSUMER_LOG_URL: embedded: works with serve only; give kafka://…",
        "FAL_CONSUMER_ACCOUNTS: missing; receive accepts configured accounts only",
    ]


def test_kafka_needs_shared_secrets():
    """Every process on Kafka has the same secrets; PostgreSQL goes with any role."""
    settings = settings_of(log_url="kafka://a:1", ledger_url="postgresql://a/b")

    assert mistakes_for(Role.WORK, settings) == [
        (
            "FAL_CONSUMER_TOKEN_SECRETS_FILE: missing; with kafka:// every process needs the same "
            "secrets"
        ),
    ]


def test_key_file_matters_to_whoever_reads_it(tmp_path):
    """A receiver neither needs nor reads the key; the others say that it cannot be read."""
    settings = settings_of(fal_key_file=str(tmp_path / "absent"))
    mistake = "FAL_KEY_FILE: the file cannot be read (No such file or directory)"

    assert mistake in mistakes_for(Role.SERVE, settings)
    assert mistake not in mistakes_for(Role.RECEIVE, settings)


def test_endpoints_that_may_be_submitted():
    """Without a list: all on the embedded log, none on Kafka; with one, exactly those."""
    assert settings_of().may_submit("a/b")
    assert not settings_of(log_url="kafka://a:1").may_submit("a/b")
    assert settings_of(submit_endpoints="a/b").may_submit("a/b")
    assert not settings_of(submit_endpoints="a/b").may_submit("a/b/c")
    assert not settings_of(submit_endpoints="").may_submit("a/b")


def test_where_the_console_listens():
    """8081 for serve, a free port for other roles, wherever told, or nowhere."""
    assert settings_of().console_for(Role.SERVE) == Address("127.0.0.1", 8081)
    assert settings_of().console_for(Role.WORK) == Address("127.0.0.1", 0)
    assert settings_of(console_listen="[::1]:5").console_for(Role.WORK) == Address("::1", 5)
    assert settings_of(console_listen="none").console_for(Role.SERVE) is None
    assert str(Address("::1", 5)) == "[::1]:5"
