"""
Taking spools: adopting those that nobody holds, making one, letting go, removing what is empty.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from consumer.errors import LogUnavailable
from consumer.log.spool.places import HeldPlace, list_places, maybe_hold, new_place
from consumer.log.spool.spool import Spool, SpoolLimits
from consumer.ports import Clock
from consumer.telemetry import get_logger


@dataclass(frozen=True, slots=True, eq=False)
class OpenSpool:
    """A spool of ours and what closes it."""

    spool: Spool
    stack: AsyncExitStack

    async def close(self) -> None:
        """Close the spool and let it go; remove it when there is nothing left in it."""
        held = self.spool.held
        is_spent = False
        with suppress(LogUnavailable):
            # Removed only when the disk itself says that nothing is left.
            await self.spool.recount()
            is_spent = self.spool.is_empty and not self.spool.has_unread_files()
        await self.stack.aclose()
        if is_spent:
            held.remove()
        else:
            held.release()


class Holding:
    """
    The spools that this process holds. Closing it lets all of them go, and removes none.
    """

    def __init__(self, folder: Path, *, clock: Clock, limits: SpoolLimits) -> None:
        self._folder = folder
        self._clock = clock
        self._limits = limits
        self.all: list[OpenSpool] = []

    @classmethod
    @asynccontextmanager
    async def of_free(
        cls, folder: Path, *, clock: Clock, limits: SpoolLimits
    ) -> AsyncIterator["Holding"]:
        """
        Hold every spool in `folder` that nobody holds; one that cannot be opened is left, and
        said so. Raises LogUnavailable, and ConfigError for files written by a newer version.
        """
        holding = cls(folder, clock=clock, limits=limits)
        try:
            for place in list_places(folder):
                if (held := maybe_hold(place)) is not None:
                    with suppress(LogUnavailable):
                        await holding._open(held)
            yield holding
        finally:
            async with AsyncExitStack() as closing:
                for opened in holding.all:
                    closing.callback(opened.spool.held.release)
                    closing.push_async_callback(opened.stack.aclose)

    async def make_one(self) -> OpenSpool:
        """Make a fresh spool and hold it. Raises LogUnavailable."""
        return await self._open(new_place(self._folder))

    async def let_go(self, opened: OpenSpool) -> None:
        """Close one of them, and remove it when it is empty."""
        self.all.remove(opened)
        await opened.close()

    async def _open(self, held: HeldPlace) -> OpenSpool:
        async with AsyncExitStack() as stack:
            stack.callback(held.release)
            inner = await stack.enter_async_context(AsyncExitStack())
            try:
                spool = await inner.enter_async_context(
                    Spool.open(held, clock=self._clock, limits=self._limits)
                )
            except LogUnavailable as exc:
                get_logger().error("spool.skipped", spool=held.place.name, problem=exc.problem)
                raise
            opened = OpenSpool(spool, inner.pop_all())
            stack.pop_all()
        self.all.append(opened)
        if waiting := spool.waiting.total():
            get_logger().info("spool.adopted", spool=spool.name, records=waiting)
        return opened
