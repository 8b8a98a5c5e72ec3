"""
fal's queue over HTTP: submit once; read status, result and cancel with a few patient tries.

Ids are judged before any URL is built. What an answer means is `wire`'s decision, how a
call is made is `caller`'s. Source of every path: fal docs, "Queue", read 2026-10-07.
"""

import asyncio
from functools import partial

from consumer.core.endpoint import is_endpoint_id, is_request_id, request_path
from consumer.errors import FalRefused, FalUnavailable
from consumer.fal import outcomes, wire
from consumer.fal.answers import Cancellation, RequestResult, Status, Submission
from consumer.fal.call import Answer, Call
from consumer.fal.caller import Caller
from consumer.fal.order import UnfitOrder, submit_call
from consumer.fal.pacing import NotSent
from consumer.fal.transport import NotConnected
from consumer.ports import (
    CancelAnswer,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    SubmitOrder,
    SubmitRefused,
    SubmitUnknown,
)


class FalQueueClient:
    """fal's queue, as `ports.FalQueue` promises it. Made by `open_client` and `open_fal`."""

    def __init__(self, caller: Caller, origin: str) -> None:
        self._caller = caller
        self._limits = caller.limits
        self._account = caller.account
        self._origin = origin

    @property
    def origin(self) -> str:
        """The configured origin, `https://host`; the backup's answers count as its own."""
        return self._origin

    @property
    def is_locked(self) -> bool:
        """Tell whether fal last said that the account is locked; a taken submit ends it."""
        return self._account.is_locked

    def problems(self) -> tuple[str, ...]:
        """Return what only a human can mend, for readiness: `locked`, `unauthorized`, `no_key`."""
        return self._account.problems()

    @property
    def holds_back(self) -> str:
        """Why a submit would be refused now without a call, as the port says."""
        return self._account.holds_back

    # ------------------------------------------------------------ submit

    async def submit(self, order: SubmitOrder) -> SubmitAnswer:
        """
        Send the job, once; again only to the backup, when no connection was made.

        An order outside fal's grammar is refused here, with no call; so is every order while
        fal does not take the key, or the account is locked and it is not yet time to look.
        """
        sent = await self._submit(order)
        return _verdict(sent, order) if isinstance(sent, Answer) else sent

    async def submission(self, order: SubmitOrder) -> Submission:
        """Do what `submit` does, and return everything that fal answered."""
        sent = await self._submit(order)
        if isinstance(sent, Answer):
            submission = outcomes.read_submission(sent, _verdict(sent, order))
            self._caller.tell(submission.drifts)
            return submission
        return outcomes.submission_of(sent)

    async def _submit(self, order: SubmitOrder) -> Answer | SubmitRefused | SubmitUnknown:
        try:
            call = submit_call(order, self._limits.max_answer_bytes)
        except UnfitOrder as exc:
            return SubmitRefused(None, exc.reason)
        # A rotated key must be seen before the call: after a 401 this one is not sent again.
        await self._account.reread()
        try:
            await self._account.admit()
        except FalRefused as exc:
            return SubmitRefused(exc.http_status or None, exc.reason)
        if not self._account.may_spend():
            return SubmitRefused(None, "locked")
        answer = await self._send_order(call)
        if isinstance(answer, Answer) and 200 <= answer.http_status < 300:
            self._account.note_taken()
        return answer

    async def _send_order(self, call: Call) -> Answer | SubmitRefused | SubmitUnknown:
        has_slot = False
        try:
            async with asyncio.timeout(self._limits.submit_s), self._caller.slot():
                has_slot = True
                return await self._caller.send_once(call)
        except (NotConnected, NotSent) as exc:
            return SubmitRefused(None, exc.problem)
        except FalUnavailable as exc:
            return SubmitUnknown(exc.problem)
        except FalRefused as exc:
            return SubmitUnknown(exc.reason)
        except TimeoutError:
            return SubmitUnknown("timeout") if has_slot else SubmitRefused(None, "too_many_calls")

    # ------------------------------------------------------------ status, result, cancel

    async def status(self, endpoint: str, request_id: str) -> StatusAnswer:
        """Return fal's status of a request. Raises as the port says."""
        return wire.status_answer(await self.full_status(endpoint, request_id))

    async def full_status(
        self, endpoint: str, request_id: str, *, has_logs: bool = False
    ) -> Status:
        """Return all that fal says of a request, with its logs where asked for."""
        path = f"{path_of(endpoint, request_id)}/status"
        limit = self._limits.max_page_bytes if has_logs else self._small
        call = Call("status", "GET", path, limit, query="logs=1" if has_logs else "")
        judge = partial(wire.read_status, request_id=request_id)
        status = await self._caller.ask(call, self._limits.status_s, judge)
        self._caller.tell(status.drifts)
        return status

    async def result(self, endpoint: str, request_id: str) -> ResultAnswer:
        """
        Return the result of a request. Raises as the port says.

        One over `max_result_bytes` is a FalRefused with the reason `too_large`.
        """
        call = self._result_call(endpoint, request_id)
        return await self._caller.ask(call, self._limits.result_s, wire.parse_result)

    async def outcome(self, endpoint: str, request_id: str) -> RequestResult:
        """
        Return the result of a request as one of five outcomes.

        Where fal has no result under the id, its status tells an expired one from a request
        that fal does not know, which is a FalRefused 404 `unknown_request`.
        """
        call = self._result_call(endpoint, request_id)
        judge = partial(outcomes.read_result, request_id=request_id)
        told = await self._caller.ask(call, self._limits.result_s, judge)
        if told is not None:
            return told
        status = await self.full_status(endpoint, request_id)
        return outcomes.result_without_body(status, request_id)

    async def cancel(self, endpoint: str, request_id: str) -> CancelAnswer:
        """Ask fal to stop a request. Raises as the port says. Asking twice does no harm."""
        return (await self.cancellation(endpoint, request_id)).outcome

    async def cancellation(self, endpoint: str, request_id: str) -> Cancellation:
        """Do what `cancel` does, and return everything that fal answered."""
        call = Call("cancel", "PUT", f"{path_of(endpoint, request_id)}/cancel", self._small)
        judge = partial(outcomes.read_cancellation, request_id=request_id)
        told = await self._caller.ask(call, self._limits.cancel_s, judge)
        self._caller.tell(told.drifts)
        return told

    def _result_call(self, endpoint: str, request_id: str) -> Call:
        path = path_of(endpoint, request_id)
        return Call("result", "GET", path, self._limits.max_result_bytes)

    @property
    def _small(self) -> int:
        return self._limits.max_answer_bytes


def _verdict(answer: Answer, order: SubmitOrder) -> SubmitAnswer:
    """
    Return what an answer makes of an order. A 429 to one that bounds the queue's length is about
    that bound (fal docs, "Queue submit", 2026-10), unless it names a time to come back.
    """
    is_bounded = order.options.max_queue_length is not None
    if is_bounded and wire.is_limited(answer) and wire.retry_after_s(answer.headers) is None:
        return SubmitRefused(answer.http_status, "queue_too_long")
    return wire.parse_submit(answer)


def path_of(endpoint: str, request_id: str) -> str:
    """Return the path of a request. Raises FalRefused 0 for ids outside their grammar."""
    if not is_endpoint_id(endpoint):
        raise FalRefused(0, "bad_endpoint")
    if not is_request_id(request_id):
        raise FalRefused(0, "bad_request_id")
    return request_path(endpoint, request_id)
