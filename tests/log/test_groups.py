"""What groups leave in the folder."""

from contextlib import closing

import pytest

from consumer.core.event import Topic
from consumer.errors import LogUnavailable
from consumer.log.files import LogFolder, open_to_append
from consumer.log.groups import (
    copy_groups,
    hold_group,
    read_offsets,
    read_topics,
    store_offsets,
    store_topics,
)

PLACE = (Topic.RESULTS, 3)


def test_offsets_only_rise(tmp_path):
    """A lower offset changes nothing, for this group alone."""
    with closing(open_to_append(LogFolder(tmp_path), 1)) as connection:
        store_offsets(connection, "one", {PLACE: 5})
        store_offsets(connection, "one", {PLACE: 4})
        store_offsets(connection, "two", {PLACE: 1})

        assert {PLACE: 5} == read_offsets(connection, "one")
        assert {PLACE: 1} == read_offsets(connection, "two")


def test_topics_are_the_last_ones_named(tmp_path):
    """A group that reads other topics than before no longer counts for those it left."""
    with closing(open_to_append(LogFolder(tmp_path), 1)) as connection:
        assert frozenset() == read_topics(connection, "one")
        store_topics(connection, "one", [Topic.RESULTS, Topic.COMMANDS])
        store_topics(connection, "one", [Topic.COMMANDS, Topic.COMMANDS])

        assert frozenset({Topic.COMMANDS}) == read_topics(connection, "one")


def test_new_file_knows_what_the_earlier_ones_knew(tmp_path):
    """Offsets and topics come along; a file that cannot be read is left out."""
    folder = LogFolder(tmp_path)
    with closing(open_to_append(folder, 1)) as first:
        store_offsets(first, "one", {PLACE: 5})
        store_topics(first, "one", [Topic.RESULTS])
    folder.file(2).write_bytes(b"garbage" * 1000)
    with closing(open_to_append(folder, 3)) as third:
        copy_groups(folder, third, 3)

        assert {PLACE: 5} == read_offsets(third, "one")
        assert frozenset({Topic.RESULTS}) == read_topics(third, "one")


def test_group_lock_translates_only_its_own_trouble(tmp_path):
    """What the holder raises passes unchanged; a folder that is not there is unavailable."""
    with pytest.raises(ConnectionError), hold_group(tmp_path, "one"):
        raise ConnectionError
    with pytest.raises(LogUnavailable), hold_group(tmp_path / "absent", "one"):
        pytest.fail("held a group nowhere")
    with hold_group(tmp_path, "one"):
        pass
