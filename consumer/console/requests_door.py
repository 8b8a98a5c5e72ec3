"""
One of three doors for commands: what `POST /api/requests` takes, and what it answers.

It puts the command on `fal.commands`, as the command line does, and waits a moment for what
comes of it. No HTTP here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from consumer.commanding.desk import Desk, raise_if_set_aside
from consumer.commanding.submitting import Progress, progress_of
from consumer.core.command import Command, Submit, Track, command_event, parse_command
from consumer.core.event import Event, encode
from consumer.core.public import public_request, public_submission
from consumer.core.text import dump_json, parse_json
from consumer.errors import CommandRefused, InvariantBroken, RecordRefused, UndecodableEvent
from consumer.ports import ClaimKind, Clock, Ledger, Log

SOURCE = "console"
_LOOK_EVERY_S = 0.05
_STATUS = {
    "command_conflict": 409,
    "endpoint_not_allowed": 403,
    "no_fal_key": 503,
    "too_many_open": 429,
    "too_many_commands": 429,
    "group": 409,
    "superseded": 409,
    "cancelled": 409,
    "asked": 409,
}
# The HTTP status of a refusal, by its reason; any other is fal's own: 422.


@dataclass(frozen=True, slots=True)
class Reply:
    """What the door answers: an HTTP status and a JSON object."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class RequestsDoor:
    """Takes `submit` and `track`, and tells where a request or submission stands."""

    def __init__(self, log: Log, ledger: Ledger, *, clock: Clock) -> None:
        self._log = log
        self._ledger = ledger
        self._clock = clock

    async def take(self, fields: Mapping[str, Any], key: str | None, wait: timedelta) -> Reply:
        """
        Put a command on the log and answer what came of it within `wait`.

        `key` is the caller's idempotency key, the command's id. Raises Unavailable.
        """
        if fields.get("command", "submit") not in ("submit", "track"):
            return _mistake("command", fields["command"], "submit or track")
        try:
            event = self._event(fields, key or uuid4().hex)
        except UndecodableEvent as exc:
            return _unprocessable(exc, fields)
        command = parse_command(event.data)
        try:
            return await self._hand_over(event, command, wait)
        except RecordRefused:
            return Reply(413, {"error": "too_large", "problem": "the log takes no such record"})
        except CommandRefused as exc:
            return _refused(exc, event)

    async def find(self, name: str) -> Reply:
        """Tell where a request or submission stands, with its result. Raises Unavailable."""
        submission = await self._ledger.submission(name)
        bound = submission.request.value if submission and submission.request else name.lower()
        request = await self._ledger.request(bound)
        if submission is None and request is None:
            return Reply(404, {"error": "unknown", "problem": "no such request or submission"})
        if submission is None and request is not None and request.submission is not None:
            submission = await self._ledger.submission(request.submission.value)
        document = await self._ledger.result(bound) or await self._ledger.result(name)
        held = request or submission
        return Reply(
            200,
            {
                "state": held.state.value if held else None,
                "request": public_request(request) if request else None,
                "submission": public_submission(submission) if submission else None,
                "result": parse_json(document) if document else None,
            },
        )

    # ------------------------------------------------------------ parts

    async def _hand_over(self, event: Event, command: Command, wait: timedelta) -> Reply:
        if not isinstance(command, (Submit, Track)):
            raise InvariantBroken("a command that this door does not take")
        if await self._is_taken(command):
            raise CommandRefused("command_conflict")
        if isinstance(command, Submit):
            return await self._submit(event, command, wait)
        return await self._track(event, command, wait)

    def _event(self, fields: Mapping[str, Any], command_id: str) -> Event:
        if "command_id" in fields:
            raise UndecodableEvent("command_id", "expected none: the Idempotency-Key header is it")
        named = {"command": "submit", **fields, "command_id": command_id}
        return command_event(named, source=SOURCE, at=self._clock())

    async def _is_taken(self, command: Submit | Track) -> bool:
        """Tell whether the key stands for something else already, here or at another door."""
        fingerprint = _fingerprint(command)
        if await self._ledger.reserve(command.command_id, fingerprint) != fingerprint:
            return True
        if isinstance(command, Track):
            return False
        claim = await self._ledger.latest_claim(ClaimKind.SUBMISSION, command.submission_id)
        return claim is not None and claim.fingerprint != command.input_sha256

    async def _submit(self, event: Event, command: Submit, wait: timedelta) -> Reply:
        if await self._ledger.submission(command.submission_id) is None:
            await self._log.append(encode(event))
        progress = Progress.WAITING
        try:
            async with asyncio.timeout(wait.total_seconds()):
                while True:
                    held = await self._ledger.submission(command.submission_id)
                    progress = progress_of(held, command.input_sha256)
                    if held is not None and held.request and progress is Progress.SENT:
                        return _taken(200, event, progress, held.request.value)
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            return _taken(202, event, progress, None)

    async def _track(self, event: Event, command: Track, wait: timedelta) -> Reply:
        desk = Desk(self._log, self._ledger, None)
        await desk.ask(event)
        try:
            async with asyncio.timeout(wait.total_seconds()):
                while True:
                    held = await self._ledger.request(command.request_id)
                    if held is not None and held.is_tracked:
                        return _taken(200, event, Progress.SENT, command.request_id)
                    raise_if_set_aside(await desk.look(), event)
        except TimeoutError:
            return _taken(202, event, Progress.WAITING, command.request_id)


def _taken(status: int, event: Event, progress: Progress, request_id: str | None) -> Reply:
    subject = event.subject
    body = {
        "submission_id": subject if subject.startswith("sub_") else None,
        "request_id": request_id,
        "command_id": event.id,
        "progress": progress.value,
    }
    return Reply(status, body, {"Location": f"/api/requests/{subject}"})


def _fingerprint(command: Submit | Track) -> str:
    """Return what makes two commands under one key the same: endpoint and input, or request."""
    if isinstance(command, Submit):
        return f"submit {command.input_sha256}"
    named = dump_json([command.endpoint, command.request_id])
    return f"track {sha256(named).hexdigest()}"


def _refused(error: CommandRefused, event: Event) -> Reply:
    body = {
        "error": error.reason,
        "problem": str(error),
        "command_id": event.id,
        "submission_id": event.subject if event.subject.startswith("sub_") else None,
    }
    status = _STATUS.get(error.reason, 422)
    return Reply(status, body, {"Retry-After": "60"} if status in (429, 503) else {})


def _unprocessable(error: UndecodableEvent, fields: Mapping[str, Any]) -> Reply:
    """Name the field that is wrong, the shape of its value, and what was expected."""
    path = error.part.split(".")
    if path[0] in ("submit", "track", "cancel", "refetch"):
        path = path[1:]
    if path[:1] == ["command_id"] and "command_id" not in fields:
        expected = "1 to 200 visible ASCII characters without a space"
        return Reply(400, {"error": "bad_key", "field": "Idempotency-Key", "expected": expected})
    value: Any = fields
    for name in path:
        value = value.get(name, _NOTHING) if isinstance(value, Mapping) else _NOTHING
    return _mistake(".".join(path) or "data", value, error.problem.removeprefix("Value error, "))


_NOTHING = object()


def _mistake(field_name: str, value: Any, expected: str) -> Reply:
    body = {
        "error": "bad_field",
        "field": field_name,
        "got": shape_of(value),
        "expected": expected.removeprefix("expected "),
    }
    return Reply(422, body)


def shape_of(value: Any) -> str:
    """Return what kind of value it is, never the value."""
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} fields"
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else "a number"
