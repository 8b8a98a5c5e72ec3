"""How long members of a group on Kafka wait for one another. Plain values."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class ConsumerTimes:
    """
    How long members and their group wait for one another.

    A member that is silent for `session` is given up; until then its places wait for it,
    which is what a lasting name is for. `rebalance` is how long the group waits for a member
    to let go, and exceeds `revoke`, which is what that may take here. Reading has stalled
    when the end is ahead and nothing moved for `stall`.
    """

    session: timedelta = timedelta(seconds=30)
    heartbeat: timedelta = timedelta(seconds=3)
    rebalance: timedelta = timedelta(seconds=45)
    revoke: timedelta = timedelta(seconds=20)
    opening: timedelta = timedelta(seconds=5)
    answer: timedelta = timedelta(seconds=5)
    look_every: timedelta = timedelta(seconds=5)
    stall: timedelta = timedelta(seconds=30)
