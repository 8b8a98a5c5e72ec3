"""The file in force, and what happens when it breaks."""

import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from consumer.errors import LogUnavailable
from consumer.log.current import CurrentFile
from consumer.log.files import LogFolder
from consumer.log.room import LogLimits, Room


def error(code: int) -> sqlite3.Error:
    made = sqlite3.OperationalError("made up")
    made.sqlite_errorcode = code
    return made


@pytest.fixture
def current(tmp_path):
    folder = LogFolder(tmp_path)
    file = CurrentFile(folder, Room(folder, LogLimits(reserve_bytes=0)))
    yield file
    file.drop()


def test_broken_file_is_followed_by_the_next(current, tmp_path):
    """A file that breaks is marked, said once, and never opened to append again."""
    current.open()
    with capture_logs() as lines:
        current.give_up(error(sqlite3.SQLITE_IOERR_FSYNC))
    current.open()

    assert (2, True) == (current.number, (tmp_path / "log-00000001.closed").exists())
    assert [("log.file_closed", 1)] == [(line["event"], line["partition"]) for line in lines]


def test_files_that_break_at_once_are_not_strewn(current, tmp_path):
    """When not even a new file works, the next one waits; a write that works ends that."""
    for _ in range(2):
        current.open()
        current.give_up(error(sqlite3.SQLITE_IOERR_WRITE))

    with pytest.raises(LogUnavailable):
        current.open()
    assert (1, 2) == LogFolder(tmp_path).list().present


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM])
def test_what_is_not_the_files_fault_leaves_it_open(current, tmp_path, code):
    """A full disk, a busy file and missing memory close nothing."""
    current.open()
    with pytest.raises(LogUnavailable):
        current.give_up(error(code))

    current.open()
    assert 1 == current.number
    assert frozenset() == LogFolder(tmp_path).list().closed


def test_broken_file_is_remembered_without_its_mark(current, tmp_path):
    """Where the mark cannot be made, this process still goes on with the next file."""
    current.open()
    (tmp_path / "log-00000001.closed").mkdir()
    current.give_up(error(sqlite3.SQLITE_IOERR_WRITE))
    current.open()

    assert 2 == current.number


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_file_taken_away_in_use_is_followed_by_the_next(current, tmp_path, suffix):
    """A file that lost its name, or its WAL's, is never written again, and it is said once."""
    current.open()
    assert current.open() is current.open()
    (tmp_path / f"log-00000001.sqlite{suffix}").unlink()
    with capture_logs() as lines:
        current.open()
        current.open()

    assert (2, frozenset({1})) == (current.number, LogFolder(tmp_path).list().closed)
    assert [("log.file_gone", 1)] == [(line["event"], line["partition"]) for line in lines]


def test_records_of_a_wal_taken_away_are_brought_home(current, tmp_path):
    """What was committed to a WAL without a name is in the file when that is closed for good."""
    current.open().execute("INSERT INTO offsets VALUES ('g', 'results', 1, 7)")
    (tmp_path / "log-00000001.sqlite-wal").unlink()
    current.open()

    with closing(sqlite3.connect(tmp_path / "log-00000001.sqlite")) as file:
        assert [("g", "results", 1, 7)] == file.execute("SELECT * FROM offsets").fetchall()


def test_file_opened_again_stays_in_force(current):
    """A file that is there from before is in place from the first look on."""
    current.open()
    current.drop()
    current.open()
    current.open()

    assert 1 == current.number
