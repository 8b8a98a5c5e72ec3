"""Whether the log may grow."""

import os
from contextlib import closing
from datetime import timedelta

import pytest

from consumer.core.event import Topic
from consumer.log.files import LogFolder, open_to_append
from consumer.log.room import LogLimits, Room


@pytest.mark.parametrize(
    "limits,refusal",
    [
        (LogLimits(reserve_bytes=0), None),
        (LogLimits(reserve_bytes=1 << 60), "free space is below the reserve"),
        (LogLimits(reserve_bytes=0, max_bytes=100_000), "the log has reached its size limit"),
    ],
)
def test_growth_is_bounded(tmp_path, limits, refusal):
    """Growth is refused below the reserve and past the size limit."""
    folder = LogFolder(tmp_path)
    with closing(open_to_append(folder, 1)) as connection:
        assert refusal == Room(folder, limits).refusal(connection, 1, 100_000)


def test_growth_is_counted_between_looks(tmp_path):
    """What was written since the last look at the disk counts towards the limit."""
    folder = LogFolder(tmp_path)
    room = Room(folder, LogLimits(reserve_bytes=0, max_bytes=1_000_000))
    with closing(open_to_append(folder, 1)) as connection:
        assert room.refusal(connection, 1, 10) is None
        assert not room.wants_trimming
        room.grew(950_000)
        assert room.wants_trimming


def test_full_disk_is_remembered_until_a_write_works(tmp_path):
    """After SQLite found the disk full, it counts as full until more is free or a write works."""
    room = Room(LogFolder(tmp_path), LogLimits())
    assert not room.is_known_full()
    room.note_full()
    room.grew(0)

    assert not room.is_known_full()
    assert os.statvfs(tmp_path).f_bavail > 0


def test_retention_has_defaults():
    """Commands are kept a week, all else a month, also topics that are not named."""
    assert timedelta(days=7) == LogLimits().kept_for(Topic.COMMANDS)
    assert timedelta(days=30) == LogLimits(retention={}).kept_for(Topic.RESULTS)
