"""
What the receiver will hold at once, and for how long. Past a limit it says no.

No I/O here. A `Room` counts what is in hand; the loop is its only user, so it needs no lock.
"""

from dataclasses import dataclass
from datetime import timedelta

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceiverLimits:
    """
    Bounds of the receiver. All deadlines together stay below the sender's patience.

    Source of the 15 s: fal docs, "Webhooks", first attempt's timeout (captures of 2026-09).
    """

    max_body_bytes: int = 10 * MIB
    max_reading_bytes: int = 256 * MIB
    # Bodies in memory, read or being read. Past it: 503.
    max_connections: int = 1024
    # Past it the connection that has kept us waiting longest gives way.
    max_publishing: int = 1024
    max_publishing_bytes: int = 64 * MIB
    # Verified deliveries that wait for the log. Past either: 503. As many as connections: while a
    # log that stopped answering is found out, 500 new ones may come each second.
    max_unproven_bytes_per_hour: int = 256 * MIB
    # Bodies of accounts nobody configured: fal's other customers can sign as many as they like.
    max_copies: int = 10_000
    # Durable deliveries remembered, so that an exact copy is answered without publishing.
    head_deadline: timedelta = timedelta(seconds=10)
    # From a connection's start, or a request's first byte, to the end of its headers.
    idle_deadline: timedelta = timedelta(seconds=75)
    # Longer than the idle time of common proxies (60 s), so that they close first.
    body_deadline: timedelta = timedelta(seconds=10)
    publish_deadline: timedelta = timedelta(seconds=6)
    # For the log as a whole, its waiting room on disk included.
    answer_deadline: timedelta = timedelta(seconds=13)
    # From the headers to the answer, whatever the parts took. Below the sender's 15 s.
    drain_deadline: timedelta = timedelta(seconds=15)
    # On stop: for deliveries in hand. Below the 30 s that orchestrators usually grant.


class Room:
    """How many things, and bytes of them, are in hand at once."""

    __slots__ = ("count", "max_bytes", "max_count", "taken_bytes")

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.count = 0
        self.taken_bytes = 0

    def maybe_take(self, size: int) -> bool:
        """Take room for one thing of `size` bytes; False, and nothing taken, when there is none."""
        if self.count >= self.max_count or self.taken_bytes + size > self.max_bytes:
            return False
        self.count += 1
        self.taken_bytes += size
        return True

    def give_back(self, size: int) -> None:
        """Undo one `maybe_take` of the same size."""
        self.count -= 1
        self.taken_bytes -= size
