"""Names that outlive a process."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from consumer.errors import LogUnavailable
from consumer.log.kafka import members
from consumer.log.kafka.members import hold_member

CHILD = """
import sys
from pathlib import Path
from consumer.log.kafka.members import hold_member
with hold_member(Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.read()
"""


def test_a_name_is_taken_again(tmp_path):
    """Who comes after gets the same name; two at once get different ones."""
    with hold_member(tmp_path / "m") as first, hold_member(tmp_path / "m") as second:
        pass
    with hold_member(tmp_path / "m") as again:
        assert first == again

    assert first != second
    assert first.rpartition("-")[0] == second.rpartition("-")[0]


def test_folders_have_names_of_their_own(tmp_path):
    """Two folders never make the same name."""
    with hold_member(tmp_path / "a") as one, hold_member(tmp_path / "b") as other:
        assert one != other


def test_a_killed_process_frees_its_name_at_once(tmp_path):
    """The name of a process that was killed is the next one's."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        with hold_member(tmp_path) as beside:
            assert name != beside
        child.kill()
        child.wait(30)

    with hold_member(tmp_path) as after:
        assert name == after


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    """Where no folder can be, or its id is none, the log is unavailable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailable), hold_member(tmp_path / "file"):
        pytest.fail("held")

    (tmp_path / "id").write_text("x")
    with pytest.raises(LogUnavailable), hold_member(tmp_path):
        pytest.fail("held")


def test_slots_are_bounded(tmp_path):
    """There are only so many names in a folder."""
    with ExitStack() as stack:
        for _ in range(members.MAX_SLOTS):
            stack.enter_context(hold_member(tmp_path))
        with pytest.raises(LogUnavailable):
            stack.enter_context(hold_member(tmp_path))
