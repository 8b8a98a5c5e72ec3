"""How the texts and values of settings are read, one by one."""

from datetime import timedelta
from pathlib import Path

import pytest

from consumer.errors import ConfigError
from consumer.settings import Address, NoListener, Settings, env_name, load_settings


def settings_of(**given: str) -> Settings:
    """Settings of an environment, names without their prefix where they have it."""
    return load_settings({env_name(field): value for field, value in given.items()})


def mistakes_of(environ: dict[str, str], config_file: Path | None = None) -> tuple[str, ...]:
    """Every mistake of an environment."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(environ, config_file)
    return wrong.value.mistakes


BAD = {
    "listen": ["8080", "host", "host:", ":80", "host:99999", "a b:1", "::1:80", "[::1]"],
    "console_listen": ["no", "8081", "None:"],
    "public_url": [
        "http://example.com",
        "example.com",
        "https://",
        "https://u:p@a",
        "https://a/?x",
    ],
    "queue_url": [
        "http://queue.fal.run",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "ftp://::1",
    ],
    "jwks_url": [
        "https://a#b",
        "https://a b",
        "https://a:0",
        "https://a:x",
        "https://[a",
        "https://\\",
    ],
    "log_url": ["kafka://", "kafka://a", "kafka://a:1,", "embedded", "redis://a:1"],
    "ledger_url": ["postgresql://", "mysql://a", "sqlite:x.db"],
    "ledger_keep_days": ["0", "-1", "1.5", "40000", "30d"],
    "media_hosts": ["com", "http://cdn.example.com", "10.0.0.1", "a b", "x.example/../y"],
    "accounts": ["a b", "ä", "x" * 257],
    "submit_endpoints": ["fal-ai", "a/../b", "a/b,c", "https://a/b"],
    "cancel_queued_after": ["0", "-5", "1y", "31d", "soon", "nan", "inf"],
    "cancel_running": ["asked", "whim", "queue_wait,x"],
    "cancels_per_minute": ["-1", "1.5", "many", "1000001", "\u0661"],
    "commands_per_minute": ["0", "1e3"],
    "max_open_requests": ["0", "none"],
    "max_body_bytes": ["0", "1", "1GiB", "10MB", "-1", "1e6", "ten"],
    "spool_max_bytes": ["1", "-1", "2000TiB"],
    "publish_timeout_s": ["0", "11", "1h", "nan"],
    "first_check_s": ["0", "2d"],
    "kafka_single_broker": ["maybe", "2"],
    "kafka_security_protocol": ["TLS"],
    "topic_prefix": ["a b", "ä", "x" * 65],
    "log_level": ["trace", "critical"],
    "log_format": ["xml"],
    "fal_key": ["a b", "ä", "x" * 1025],
}


@pytest.mark.parametrize(
    "field, value", [(name, one) for name, all_ in BAD.items() for one in all_]
)
def test_bad_value_is_named_by_its_shape(field, value):
    """A value outside its grammar or range names the setting and its shape, never itself."""
    (mistake,) = mistakes_of({env_name(field): value})

    shape = f"{env_name(field)} (environment): a text of {len(value)} characters; expected "
    assert mistake.startswith(shape)


@pytest.mark.parametrize(
    "field, text, expected",
    [
        ("listen", "[::1]:0", Address("::1", 0)),
        ("listen", "localhost:80", Address("localhost", 80)),
        ("console_listen", "none", NoListener.NONE),
        ("console_listen", "127.0.0.1:9", Address("127.0.0.1", 9)),
        ("public_url", "https://a.example/base/", "https://a.example/base"),
        ("public_url", "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("queue_url", "http://[::1]:80", "http://[::1]:80"),
        ("api_url", "http://LOCALHOST:80/v1", "http://LOCALHOST:80/v1"),
        ("accounts", " github|1, github|2,,github|1 ", ("github|1", "github|2")),
        ("submit_endpoints", "", ()),
        ("submit_endpoints", "fal-ai/flux/dev,a/b", ("fal-ai/flux/dev", "a/b")),
        ("cancel_queued_after", "900", timedelta(minutes=15)),
        ("cancel_queued_after", "30m", timedelta(minutes=30)),
        ("cancel_queued_after", "1.5h", timedelta(minutes=90)),
        ("ledger_keep_days", "90", 90),
        ("cancel_running", "", ()),
        ("cancel_running", "superseded, queue_wait", ("superseded", "queue_wait")),
        ("cancels_per_minute", " 0 ", 0),
        ("commands_per_minute", "60", 60),
        ("max_body_bytes", "10MiB", 10485760),
        ("max_body_bytes", "1.5 MiB", 1572864),
        ("spool_max_bytes", "0", 0),
        ("publish_timeout_s", "500ms", 0.5),
        ("stop_timeout_s", "2m", 120.0),
        ("kafka_single_broker", "Yes", True),
        ("kafka_security_protocol", "ssl", "SSL"),
        ("log_level", "DEBUG", "debug"),
        ("log_url", "kafka://a:9092,[::1]:9093", "kafka://a:9092,[::1]:9093"),
        ("data_dir", "/var/lib/x", Path("/var/lib/x")),
    ],
)
def test_text_becomes_a_value(field, text, expected):
    """Texts of the environment become values of their types."""
    assert getattr(settings_of(**{field: text}), field) == expected


def test_direct_values_are_taken_as_they_are():
    """Built directly, settings take the values of their types."""
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        console_listen=NoListener.NONE,
        data_dir=Path("/x"),
        accounts=("a",),
        cancel_queued_after=timedelta(hours=1),
        max_body_bytes=4096,
        ledger_url="sqlite:",
        fal_key="a:b",
    )

    assert settings.cancel_queued_after == timedelta(hours=1)
    assert settings.fal_key.get_secret_value() == "a:b"
