"""What stamps promise: the ledger says since when its claims are whole."""

from datetime import timedelta

from consumer.ports import StampKind
from tests.conformance.ledger.stage import T0, Stage


async def the_latest_stamp_is_told(stage: Stage) -> None:
    """There is none at first; then the latest counts, over a restart as well."""
    assert None is await stage.ledger.stamped_at()

    assert T0 == await stage.ledger.stamp(StampKind.COPIED)
    stage.clock.advance(timedelta(hours=1))
    await stage.ledger.stamp(StampKind.RESTORED)
    stage.clock.advance(timedelta(hours=-2))
    await stage.ledger.stamp(StampKind.REBUILT)

    assert T0 + timedelta(hours=1) == await (await stage.reopen()).stamped_at()
