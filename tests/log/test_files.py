"""The files of the embedded log: names, marks, and what errors mean."""

import sqlite3
from contextlib import closing

import pytest

from consumer.log.files import (
    Fault,
    Listing,
    LogFolder,
    error_name,
    fault_of,
    open_to_append,
    open_to_read,
)


def error(code: int) -> sqlite3.Error:
    made = sqlite3.OperationalError("made up")
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    "present,closed,current,following",
    [
        ((), frozenset(), None, 1),
        ((1,), frozenset(), 1, 2),
        ((1, 2), frozenset({1}), 2, 3),
        ((1, 2), frozenset({2}), None, 3),
        ((), frozenset({7}), None, 8),
    ],
)
def test_listing_names_the_file_in_force(present, closed, current, following):
    """Appends go to the newest file unless it is closed; numbers are never used again."""
    listing = Listing(present, closed)

    assert (current, following) == (listing.current, listing.next_number)


@pytest.mark.parametrize(
    "code,fault",
    [
        (sqlite3.SQLITE_FULL, Fault.FULL),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Fault.BUSY),
        (sqlite3.SQLITE_IOERR_FSYNC, Fault.BROKEN),
        (sqlite3.SQLITE_CORRUPT, Fault.BROKEN),
        (sqlite3.SQLITE_NOTADB, Fault.BROKEN),
        (sqlite3.SQLITE_CANTOPEN, Fault.BROKEN),
        (sqlite3.SQLITE_READONLY, Fault.BROKEN),
        (sqlite3.SQLITE_IOERR_NOMEM, Fault.PLACE),
        (sqlite3.SQLITE_ERROR, None),
    ],
)
def test_errors_say_what_is_at_fault(code, fault):
    """Extended codes are judged by their family."""
    assert fault == fault_of(error(code))


def test_errors_of_the_module_itself_are_nobodys_fault():
    """An error without a code is a mistake of ours."""
    made = sqlite3.ProgrammingError("closed")

    assert (None, "ProgrammingError") == (fault_of(made), error_name(made))


def test_folder_lists_only_what_is_its_own(tmp_path):
    """Other names in the folder are left alone."""
    for name in ("log-00000002.sqlite", "log-00000001.closed", "log-1.sqlite", "x.sqlite"):
        (tmp_path / name).touch()

    assert Listing((2,), frozenset({1})) == LogFolder(tmp_path).list()
    assert Listing((), frozenset()) == LogFolder(tmp_path / "absent").list()


def test_foreign_database_is_refused(tmp_path):
    """A SQLite file of somebody else is never taken for a log."""
    folder = LogFolder(tmp_path)
    with closing(sqlite3.connect(folder.file(1))) as connection:
        connection.execute("CREATE TABLE theirs (x)")

    for door in (open_to_append, open_to_read):
        with pytest.raises(sqlite3.DatabaseError) as caught:
            door(folder, 1)
        assert Fault.BROKEN is fault_of(caught.value)


def test_file_that_is_being_made_is_waited_for(tmp_path):
    """An empty file, as it is for a moment when another process makes it, is no broken one."""
    LogFolder(tmp_path).file(1).touch()

    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_to_read(LogFolder(tmp_path), 1)

    assert Fault.BUSY is fault_of(caught.value)


def test_file_syncs_at_every_commit(tmp_path):
    """A file is in WAL mode, syncs in full and gives pages back."""
    with closing(open_to_append(LogFolder(tmp_path), 1)) as connection:
        pragmas = ("journal_mode", "synchronous", "auto_vacuum")
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]

    assert ["wal", 2, 2] == found
