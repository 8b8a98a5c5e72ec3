"""Folders and locks of spools, among processes."""

import os
import subprocess
import sys

import pytest

from consumer.errors import LogUnavailable
from consumer.log.spool.places import SpoolPlace, list_places, maybe_hold, new_place

HOLD = """
import sys
from pathlib import Path
from consumer.log.spool.places import SpoolPlace, maybe_hold
assert maybe_hold(SpoolPlace(Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process():
    """Return a function that lets a process of its own hold a spool; it ends with the test."""
    processes = []

    def hold(place: SpoolPlace) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(place.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_a_new_place_is_held_by_us(tmp_path):
    """A fresh spool has a name of its own, and names this process as its holder."""
    first, second = new_place(tmp_path / "spool"), new_place(tmp_path / "spool")

    assert sorted([first.place, second.place]) == list_places(tmp_path / "spool")
    assert f"process {os.getpid()}" == first.place.holder()
    first.release()
    second.release()
    assert first.place.holder() is None


def test_a_spool_is_held_by_one_process(tmp_path, other_process):
    """While one process holds a spool, another is told who it is and does not get it."""
    held = new_place(tmp_path)
    held.release()
    process = other_process(held.place)

    assert maybe_hold(held.place) is None
    assert f"process {process.pid}" == held.place.holder()


def test_a_killed_holder_lets_go(tmp_path, other_process):
    """The lock of a process that was killed is gone with it."""
    held = new_place(tmp_path)
    held.release()
    process = other_process(held.place)
    process.kill()
    process.wait()

    again = maybe_hold(held.place)

    assert again is not None
    again.release()


def test_who_looks_holds_nothing(tmp_path):
    """A look at an unheld spool leaves it free."""
    held = new_place(tmp_path)
    held.release()

    assert [held.place.holder() for _ in range(3)] == [None] * 3
    again = maybe_hold(held.place)
    assert again is not None
    again.release()


def test_a_removed_spool_is_gone(tmp_path):
    """Removing leaves no file, and nobody can hold what was removed."""
    held = new_place(tmp_path / "spool")
    held.place.waiting.mkdir()
    held.place.refused.mkdir()
    held.remove()

    assert list((tmp_path / "spool").iterdir()) == []
    assert maybe_hold(held.place) is None


def test_a_lock_of_a_removed_file_counts_for_nothing(tmp_path):
    """Whoever locked the file while its name went to another one, holds no spool."""
    held = new_place(tmp_path)
    (held.place.path / "spool.lock").unlink()

    second = maybe_hold(held.place)

    assert second is not None
    assert os.fstat(second.descriptor).st_ino != os.fstat(held.descriptor).st_ino
    held.release()
    second.release()


def test_no_folder_is_no_spool(tmp_path):
    """Where no receiver ever ran, there is nothing to list."""
    assert list_places(tmp_path / "spool") == []


def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    """A file where the folder should be is an error with a sentence."""
    (tmp_path / "spool").write_text("")

    with pytest.raises(LogUnavailable, match="cannot list"):
        list_places(tmp_path / "spool")
    with pytest.raises(LogUnavailable, match="cannot make"):
        new_place(tmp_path / "spool")


def test_a_wish_to_retry_is_heard_once(tmp_path):
    """What an operator asks for stands until it is fulfilled."""
    held = new_place(tmp_path)
    before = held.place.wants_retry()
    held.place.ask_for_retry()
    asked = held.place.wants_retry()
    held.place.forget_retry()

    assert (False, True, False) == (before, asked, held.place.wants_retry())
    held.release()
