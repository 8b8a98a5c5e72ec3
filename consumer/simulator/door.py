"""
The door before both APIs: what every call meets before it is carried out, and what it was told.

In this order: a planned fault, the key, the rate limit. The lock is asked last, by the calls
that cost money (`refusal_of_lock`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from consumer.simulator.access import Access, is_anonymous
from consumer.simulator.books import Answered, Books
from consumer.simulator.errors import refusal
from consumer.simulator.faults import SPOILING, FaultPlan, Operation, early_answer, spoiled
from consumer.simulator.standing import Api, Standing

OPERATION = web.RequestKey("operation", Operation)

_Handler = Callable[[], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Door:
    """Lets calls through to their handlers, or answers them itself."""

    access: Access
    standing: Standing
    faults: FaultPlan
    books: Books
    now: Callable[[], float]

    async def admit(
        self, request: web.Request, operation: Operation, refused: str | None, handler: _Handler
    ) -> web.StreamResponse:
        """Answer one call; `refused` is why its key does not pass, in the words of its host."""
        request[OPERATION] = operation
        taken = self.faults.take(operation)
        if taken is not None and taken[0] not in SPOILING:
            return early_answer(*taken, request, api_of(operation))
        turned_away = self._turned_away(request, api_of(operation), refused)
        if turned_away is not None:
            return turned_away
        if taken is None:
            return await handler()
        if operation is Operation.STREAM:
            answer: web.StreamResponse = web.Response(
                body=b'data: {"status": ', content_type="text/event-stream"
            )
        else:
            answer = await handler()
        return await spoiled(taken[0], request, answer)

    def _turned_away(
        self, request: web.Request, api: Api, refused: str | None
    ) -> web.Response | None:
        if refused is not None:
            return refusal(api, 401, refused)
        hint = self.standing.exceeded(api, is_anonymous=is_anonymous(request))
        return None if hint is None else refusal(api, 429, "Rate limit exceeded", headers=hint)

    def refusal_of_lock(self) -> web.Response | None:
        """
        Return the answer to a call that costs money, None while the account is not locked.

        Reads and cancels go on working. Source: reports of users, 2026.
        """
        lock = self.standing.lock
        return None if lock is None else refusal(Api.QUEUE, 403, lock.text)

    async def note(self, request: web.Request, response: web.StreamResponse) -> None:
        """Write an answer into the books as it begins; a signal of the application."""
        operation = request.get(OPERATION)
        if operation is None:
            return
        is_cut = request.transport is None or request.transport.is_closing()
        status = None if is_cut else response.status
        self.books.note_answer(Answered(self.now(), operation.value, status))


def api_of(operation: Operation) -> Api:
    """Return the host an operation belongs to."""
    return Api.QUEUE if operation in _OF_QUEUE else Api.PLATFORM


_OF_QUEUE = frozenset(
    {Operation.SUBMIT, Operation.STATUS, Operation.STREAM, Operation.RESULT, Operation.CANCEL}
)
