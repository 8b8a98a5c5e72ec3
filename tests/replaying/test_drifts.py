"""Listing what is kept of answers of fal that drifted."""

from consumer.core.drift import DriftNote, drift_letter
from consumer.core.event import NewRecord, Topic, parse_time
from consumer.errors import SchemaDrift
from consumer.replaying import find_drifts
from consumer.testing.log import MemoryLog

AT = parse_time("2026-11-30T12:00:00Z")


async def test_drifts_are_listed_oldest_first_and_nothing_else():
    """Each kept answer is one row with what was expected and what came; other letters are not."""
    log = MemoryLog(clock=lambda: AT)
    drift = SchemaDrift("status", "status", b"{}", expected="a word", came="a number")
    await log.append(drift_letter(drift, request_id="r", endpoint="a/b", at=AT))
    await log.append(NewRecord(Topic.DEAD_LETTERS, "k", b"", (("dlreason", b"undecodable"),)))

    (found,) = await find_drifts(log)

    assert (found.request_id, found.size, found.at) == ("r", 2, AT)
    assert found.note == DriftNote("status", "a/b", "status", "a word", "a number")
