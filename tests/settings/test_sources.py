"""Where settings come from, who wins, and what neither place may hold."""

from pathlib import Path

import pytest

from consumer.errors import ConfigError
from consumer.settings import Address, Settings, env_name, load_settings

SECRET = "hunter2-hunter2-hunter2"  # stands for what nobody may see


def settings_of(**given: str) -> Settings:
    """Settings of an environment, names without their prefix where they have it."""
    return load_settings({env_name(field): value for field, value in given.items()})


def mistakes_of(environ: dict[str, str], config_file: Path | None = None) -> tuple[str, ...]:
    """Every mistake of an environment."""
    with pytest.raises(ConfigError) as wrong:
        load_settings(environ, config_file)
    return wrong.value.mistakes


def test_environment_wins_over_the_file(tmp_path):
    """Each setting tells whether it came from the environment or from the file."""
    path = tmp_path / "consumer.toml"
    path.write_text('listen = "127.0.0.1:1"\naccounts = ["github|1", "github|2"]\n')

    settings = load_settings({"FAL_CONSUMER_LISTEN": "127.0.0.1:2"}, path)

    assert settings.listen == Address("127.0.0.1", 2)
    assert settings.accounts == ("github|1", "github|2")
    origins = {row.name: row.origin for row in settings.describe()}
    assert origins["FAL_CONSUMER_LISTEN"] == "environment"
    assert origins["FAL_CONSUMER_ACCOUNTS"] == str(path)


def test_file_is_found_by_its_name_in_the_environment(tmp_path):
    """FAL_CONSUMER_CONFIG names the file; the argument wins over it; long names work in it."""
    named, given_file = tmp_path / "named.toml", tmp_path / "given.toml"
    named.write_text('FAL_CONSUMER_LISTEN = "127.0.0.1:1"')
    given_file.write_text('listen = "127.0.0.1:2"')
    environ = {"FAL_CONSUMER_CONFIG": str(named)}

    assert load_settings(environ).listen.port == 1
    assert load_settings(environ, given_file).listen.port == 2


def test_empty_text_is_no_setting():
    """An empty variable is as good as none, as compose files leave them."""
    assert settings_of(listen="", public_url="", fal_key="", log_format="") == load_settings({})


def test_names_that_kubernetes_injects_are_ignored():
    """A service named fal-consumer beside the pod is no mistake of the operator."""
    injected = {
        "FAL_CONSUMER_SERVICE_HOST": "10.0.0.1",
        "FAL_CONSUMER_SERVICE_PORT_HTTP": "80",
        "FAL_CONSUMER_PORT": "tcp://10.0.0.1:80",
        "FAL_CONSUMER_PORT_80_TCP_ADDR": "10.0.0.1",
        "FAL_CONSUMER_RECEIVER_SERVICE_PORT": "80",
    }

    assert load_settings(injected) == load_settings({})


@pytest.mark.parametrize(
    "line",
    [
        "listen = 8080",
        "accounts = [1]",
        "accounts = true",
        "max_body_bytes = true",
        "publish_timeout_s = nan",
        "kafka_single_broker = 1",
        "log_level = 2026-01-01",
        "public_url = {a = 1}",
        "submit_endpoints = [['a/b']]",
    ],
)
def test_wrong_toml_type_is_a_mistake(tmp_path, line):
    """A TOML value of the wrong type is one mistake, told by its type."""
    path = tmp_path / "consumer.toml"
    path.write_text(line)

    (mistake,) = mistakes_of({}, path)

    assert mistake.startswith(f"{line.split()[0]} ({path}): ")


@pytest.mark.parametrize(
    "content", [b"listen = ", b"\xff", f"fal_key = {SECRET}".encode(), b"a=1\na=2"]
)
def test_unreadable_toml_is_told_without_its_text(tmp_path, content):
    """The parser's message may quote a line; ours does not."""
    path = tmp_path / "consumer.toml"
    path.write_bytes(content)

    assert mistakes_of({}, path) == (f"{path}: is not TOML in UTF-8",)


def test_absent_file_is_a_mistake(tmp_path):
    """A configuration file that is named must be there."""
    path = tmp_path / "absent.toml"

    assert mistakes_of({}, path) == (f"{path}: cannot be read (No such file or directory)",)


def test_one_setting_twice_in_a_file_is_a_mistake(tmp_path):
    """The long and the short name are the same setting."""
    path = tmp_path / "consumer.toml"
    path.write_text('listen = "a:1"\nFAL_CONSUMER_LISTEN = "a:2"\n')

    assert mistakes_of({}, path) == (
        f"{path}: listen and FAL_CONSUMER_LISTEN are the same setting",
    )


def test_key_of_two_parts_is_one_key():
    """FAL_KEY_ID and FAL_KEY_SECRET are the two sides of the colon."""
    settings = load_settings({"FAL_KEY_ID": "id", "FAL_KEY_SECRET": "secret"})

    assert settings.fal_key.get_secret_value() == "id:secret"
    assert settings.has_fal_key


def test_credential_given_twice_is_a_mistake():
    """Two forms of one credential in one place are told apart by nobody."""
    environ = {"FAL_KEY": "a:b", "FAL_KEY_FILE": "/x", "FAL_KEY_ID": "a", "FAL_KEY_SECRET": "b"}

    assert mistakes_of(environ) == ("FAL_KEY and FAL_KEY_FILE and FAL_KEY_ID: give one of them",)


def test_credential_of_the_environment_replaces_the_files(tmp_path):
    """A key in the environment wins over any form of it in the file."""
    path = tmp_path / "consumer.toml"
    path.write_text('fal_key_file = "/absent"')

    settings = load_settings({"FAL_KEY": "a:b"}, path)

    assert settings.fal_key_file is None
