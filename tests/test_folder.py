"""The data folder: one holder, and secrets that are made once."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from consumer.errors import ConfigError
from consumer.folder import DataFolder

HOLD = """
import sys
from pathlib import Path
from consumer.folder import DataFolder
with DataFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""
MAKE = """
import sys
from pathlib import Path
from consumer.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
sys.stdin.readline()
print(folder.made_secret(folder.token_secrets).read_text().strip(), flush=True)
"""


def run(script: str, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path) -> DataFolder:
    return DataFolder(tmp_path / "deep" / "data")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_made_for_its_owner(folder):
    """A missing folder is made, readable by its owner alone, and left empty."""
    folder.make()

    assert (0o700, []) == (mode_of(folder.path), list(folder.path.iterdir()))


def test_a_folder_that_cannot_be_made_is_the_operators_mistake(tmp_path):
    """A path that is no folder is a ConfigError that names it."""
    (tmp_path / "data").write_text("a file")

    with pytest.raises(ConfigError, match=r"FAL_CONSUMER_DATA_DIR: .*data cannot be written"):
        DataFolder(tmp_path / "data").make()


def test_a_second_holder_is_told_who_holds_it(folder):
    """A second process gets a ConfigError that names the first; at its death it is free."""
    with run(HOLD, folder.path) as process:
        process.stdout.readline()
        with pytest.raises(ConfigError) as raised, folder.held():
            pass
        holder = folder.holder()
        process.kill()
        process.wait()

    sentence = (
        f"FAL_CONSUMER_DATA_DIR: {folder.path} is in use by process {process.pid}; "
        "stop it first, or choose another folder"
    )
    assert (sentence, f"process {process.pid}") == (str(raised.value), holder)
    assert folder.holder() is None
    with folder.held():
        assert f"process {os.getpid()}" == DataFolder(folder.path).holder()


def test_receivers_and_workers_share_a_folder(folder):
    """Any number hold it together; a `serve` beside them is refused, and they beside a `serve`."""
    with folder.held(is_shared=True), folder.held(is_shared=True):
        assert "another process" == folder.holder()
        with pytest.raises(ConfigError, match="another process"), folder.held():
            pytest.fail("held by two")
    with (
        folder.held(),
        pytest.raises(ConfigError, match=f"process {os.getpid()}"),
        folder.held(is_shared=True),
    ):
        pytest.fail("held by two")


def test_one_at_a_time_changes_the_ledgers_schema(folder):
    """Whoever migrates beside another waits for him."""
    folder.make()
    order = []

    def migrate(name):
        with folder.migrating():
            order.extend([name, name])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, "abcd"))

    assert order[::2] == order[1::2]


def test_holding_again_after_leaving(folder):
    """The folder is free when the context is left, by an error too."""
    with pytest.raises(KeyError), folder.held():
        raise KeyError
    with folder.held():
        pass

    assert folder.holder() is None


def test_a_folder_that_nobody_ever_held(folder):
    """A folder without a lock file has no holder, and looking makes none."""
    folder.make()

    assert folder.holder() is None
    assert [] == list(folder.path.iterdir())


def test_looking_does_not_keep_a_holder_out(folder):
    """Somebody who only looks while the folder is taken does not make the taking fail."""
    folder.make()
    with folder.held():
        pass

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(lambda: [folder.holder() for _ in range(2000)])
        for _ in range(20):
            with folder.held():
                pass
        looking.result()


def test_a_secret_is_made_once(folder):
    """A secret is 32 random bytes on one line, readable by its owner alone, and stays."""
    folder.make()

    first = folder.made_secret(folder.token_secrets).read_text()
    second = folder.made_secret(folder.token_secrets).read_text()

    assert (65, "\n") == (len(first), first[-1])
    assert bytes.fromhex(first)
    assert first == second
    assert 0o600 == mode_of(folder.token_secrets)


def test_two_secrets_differ(tmp_path):
    """Each folder has a secret of its own."""
    made = []
    for name in ("one", "other"):
        folder = DataFolder(tmp_path / name)
        folder.make()
        made.append(folder.made_secret(folder.token_secrets).read_text())

    assert made[0] != made[1]


def test_a_given_line_is_kept(folder):
    """The console's first token is written as given."""
    folder.make()

    folder.made_secret(folder.console_tokens, line="admin:operate:x")

    assert "admin:operate:x\n" == folder.console_tokens.read_text()
    assert 0o600 == mode_of(folder.console_tokens)


def test_racing_makers_agree(folder):
    """Processes that make the secret at once all end with the same one."""
    folder.make()
    makers = [run(MAKE, folder.path) for _ in range(4)]
    for maker in makers:
        maker.stdin.write("\n")
        maker.stdin.flush()
    made = {maker.communicate(timeout=60)[0].strip() for maker in makers}

    assert {folder.token_secrets.read_text().strip()} == made


def test_racing_threads_agree(folder):
    """Threads of one process that make the secret at once agree too."""
    folder.make()

    with ThreadPoolExecutor(16) as pool:
        made = pool.map(lambda _: folder.made_secret(folder.token_secrets).read_text(), range(64))

    assert 1 == len(set(made))


def test_a_draft_of_a_dead_maker_does_not_stand_in_the_way(folder):
    """What a maker left behind when it was killed is written over."""
    folder.make()
    (folder.path / "token-secrets.draft").write_text("half a secre")

    made = folder.made_secret(folder.token_secrets)

    assert 65 == len(made.read_text())
    assert 0o600 == mode_of(made)


def test_a_secret_that_cannot_be_made_is_the_operators_mistake(tmp_path):
    """Where the folder is missing the secret is a ConfigError that names its path."""
    folder = DataFolder(tmp_path / "missing")

    with pytest.raises(ConfigError, match="token-secrets cannot be made"):
        folder.made_secret(folder.token_secrets)
