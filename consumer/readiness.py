"""
Whether the service can take deliveries, and what else an operator should see.

Answers at once from what a background look found last: a probe never waits for a disk.
A *problem* means that deliveries are not taken as they should be (not ready); a *note*
is trouble elsewhere, which must not take the receiver out of service.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from consumer.errors import Unavailable
from consumer.telemetry import get_logger

_log = get_logger()

_LOOK_EVERY_S = 2.0
_LOOK_TIMEOUT_S = 5.0


class Pinged(Protocol):
    """A part that can tell whether it would work now."""

    async def ping(self) -> None:
        """Raise Unavailable unless it would."""
        ...


Report = Callable[[], Sequence[str]]
"""Sentences that are known without asking anybody."""


class Readiness:
    """
    What was found at the last look, and what the parts say of themselves.

    A part that is `needed` and does not answer is a problem, one that is `wanted` a note.
    """

    def __init__(
        self,
        *,
        needed: Mapping[str, Pinged],
        wanted: Mapping[str, Pinged],
        problems: Sequence[Report],
        notes: Sequence[Report],
    ) -> None:
        self._needed = dict(needed)
        self._wanted = dict(wanted)
        self._problems = list(problems)
        self._notes = list(notes)
        self._failed: dict[str, str] = {}
        self._has_looked = False

    def is_ready(self) -> bool:
        """Tell whether deliveries are taken as they should be."""
        return self._has_looked and not self.problems()

    def problems(self) -> list[str]:
        """Return why deliveries are not taken as they should be, one sentence each."""
        reported = [sentence for report in self._problems for sentence in report()]
        return [*self._found(self._needed), *reported]

    def notes(self) -> list[str]:
        """Return other trouble, one sentence each."""
        reported = [sentence for report in self._notes for sentence in report()]
        return [*self._found(self._wanted), *reported]

    def describe(self) -> Mapping[str, Any]:
        """Return all of it as JSON values."""
        return {"ready": self.is_ready(), "problems": self.problems(), "notes": self.notes()}

    def _found(self, parts: Mapping[str, Pinged]) -> list[str]:
        return [self._failed[name] for name in parts if name in self._failed]

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Look every two seconds while the context lasts; the first look is done on entering."""
        await self._look()
        looking = asyncio.create_task(self._look_on())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        for name, part in (self._needed | self._wanted).items():
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    await part.ping()
                self._failed.pop(name, None)
            except Unavailable as exc:
                self._failed[name] = f"{name}: {exc.problem}"
            except TimeoutError:
                self._failed[name] = f"{name}: does not answer"
            except Exception as exc:  # noqa: BLE001  the outermost loop: a look that ended here
                # would leave its last finding standing for ever.
                self._failed[name] = f"{name}: cannot be looked at"
                _log.error("invariant.broken", part=name, error=type(exc).__name__, exc_info=exc)
        self._has_looked = True
