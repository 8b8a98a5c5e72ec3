"""
Errors as an agent reads them: what is wrong, and what to do next. Pure.

No text of fal's, no value that was given and no key is ever quoted.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from consumer.errors import (
    CommandRefused,
    ConfigError,
    ConsumerError,
    FalRefused,
    FalUnavailable,
    LedgerUnavailable,
    LogUnavailable,
    NoService,
    RecordRefused,
    SchemaDrift,
)

_FIELD = re.compile(r"[a-z_]{1,40}")


class ToolFailed(Exception):
    """What the agent is told in place of an answer."""


_KEY = "ask whoever runs this server to give it a FAL_KEY that fal takes"

_REFUSALS = {
    "no_key": f"This server has no fal key: {_KEY}.",
    "no_fal_key": "The service has no fal key: ask whoever runs it to give it a FAL_KEY.",
    "unauthorized": f"fal does not take this server's key: {_KEY}.",
    "forbidden": "fal does not allow this key to do that: ask whoever runs this server.",
    "locked": (
        "fal has locked the account (often its balance is used up) and refuses every job. "
        "Do not repeat the call: ask the account's owner to unlock it at fal."
    ),
    "bad_endpoint": "The endpoint id is outside fal's grammar: give owner/app[/path].",
    "bad_request_id": "The request id is no UUID: give the one that FAL_AI_SUBMIT returned.",
    "unknown_request": (
        "fal knows no request of this id at this endpoint. Check both: the request id as "
        "FAL_AI_SUBMIT returned it, and the endpoint it was submitted to."
    ),
    "unknown_endpoint": "fal knows no such endpoint: find it with FAL_AI_GET_MODELS.",
    "bad_quantity": (
        "A quantity is not usable: whole numbers from 1 for historical_api_price, "
        "from 0.000001 for unit_price, at most 10^12."
    ),
    "bad_text": "text and category have 1 to 1000 characters.",
    "bad_tags": (
        "fal does not take these tags: at most 10, names of a-z 0-9 . _ - up to 64 characters and "
        "not beginning with `fal.`, values up to 256 characters without commas, 1024 bytes in all."
    ),
    "bad_input": "The input cannot be written as JSON: no numbers beyond a float, not so deep.",
    "bad_start_timeout": "start_within_s is too short.",
    "start_deadline_passed": "start_within_s had passed before it was sent; nothing was sent.",
    "too_large": "The answer is too large to be read here.",
    "too_many_calls": "Too many calls are under way; nothing was sent. Wait and call again.",
    "rate_limited": (
        "fal takes no more calls of this account for now; nothing was sent. Wait a minute and "
        "call again."
    ),
    "queue_too_long": (
        "More requests wait at this endpoint than options.max_queue_length allows, so nothing was "
        "sent. Wait, or allow more."
    ),
    "endpoint_not_allowed": (
        "The service does not allow this endpoint: ask whoever runs it to add it to "
        "FAL_CONSUMER_SUBMIT_ENDPOINTS, then submit under a new command_id."
    ),
    "refused_before": (
        "This command_id was refused before and stays refused: submit under a new command_id."
    ),
    "command_conflict": (
        "This command_id was used for another endpoint or input, so nothing was sent. Repeat the "
        "call as it was, or choose a new command_id for the new job."
    ),
    "unknown_subject": (
        "The service knows no such request. Check the id; a request that was submitted elsewhere "
        "must first be taken up with `fal-consumer track ENDPOINT REQUEST_ID`."
    ),
    "cancelled": "The submission was cancelled before it was sent: it never ran.",
    "never_confirmed": "fal never confirmed this job; it is given up as lost and not sent again.",
}


def sentence_of(error: ConsumerError) -> str:
    """Return what an agent is told of an error of ours."""
    for kind, worded in _WORDINGS:
        if isinstance(error, kind):
            return worded(error)
    return f"It did not work ({error.code}): ask whoever runs this server."


def refusal_of(http_status: int | None, reason: str | None) -> str:
    """Return what an agent is told of a submit that fal, or our own grammar, refused."""
    return _refused(http_status or 0, reason or "refused")


def mistakes_of(error: ValidationError) -> str:
    """Return what is wrong with arguments, field by field, without a value."""
    found = []
    for one in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        where = ".".join(map(_part, one["loc"])) or "arguments"
        found.append(f"{where}: {one['msg'].removeprefix('Value error, ')}")
    more = error.error_count() - len(found)
    tail = f"; and {more} more" if more > 0 else ""
    return f"Nothing was asked: the arguments are not usable. {'; '.join(found)}{tail}."


def _part(part: int | str) -> str:
    """Return a step of the way to a mistake: a field of ours, a number, or a name not repeated."""
    return str(part) if isinstance(part, int) or _FIELD.fullmatch(part) else "…"


def _unavailable(error: FalUnavailable) -> str:
    wait = f"in {error.retry_after_s:.0f} s" if error.retry_after_s else "in a minute"
    return f"fal does not answer now ({error.problem}): call again {wait}."


def _refused(http_status: int, reason: str) -> str:
    if reason in _REFUSALS:
        return _REFUSALS[reason]
    if http_status == 401:
        return _REFUSALS["unauthorized"]
    if http_status == 404:
        return _REFUSALS["unknown_endpoint"]
    if http_status == 403:
        return _REFUSALS["forbidden"]
    if http_status == 0:
        return f"Nothing was sent ({reason}): no connection to fal, or an order it cannot take."
    return (
        f"fal refused it with {http_status} ({reason}). The same call again gets the same answer: "
        "change what you ask for."
    )


def _refused_otherwise(error: CommandRefused) -> str:
    if error.reason.startswith("http_"):
        return _refused(int(error.reason.removeprefix("http_") or 0), error.reason)
    return f"The service did not carry it out ({error.state}: {error.problem or error.reason})."


def _no_service(error: NoService) -> str:
    if error.is_asked:
        return (
            "The service stopped meanwhile. What you asked for stands in its log and is carried "
            "out when it starts again; repeat the call then, with the same command_id."
        )
    return (
        "No service runs on this server's data folder, so nothing was asked. Ask whoever runs it "
        "to start `fal-consumer serve` there, or to start this server with --direct."
    )


def _drifted(error: SchemaDrift) -> str:
    return (
        f"fal's answer to {error.operation} is not as this version knows it ({error.problem}): "
        "report it to whoever runs this server."
    )


def _storage_away(_error: ConsumerError) -> str:
    return (
        "The service's own storage does not answer now. Wait a moment and repeat the call with "
        "the same command_id; if it stays so, ask whoever runs the service."
    )


_WORDINGS: Sequence[tuple[type[ConsumerError], Callable[[Any], str]]] = (
    (FalUnavailable, _unavailable),
    (FalRefused, lambda error: _refused(error.http_status, error.reason)),
    (SchemaDrift, _drifted),
    (
        CommandRefused,
        lambda error: _REFUSALS.get(error.reason) or _refused_otherwise(error),
    ),
    (NoService, _no_service),
    (LogUnavailable, _storage_away),
    (LedgerUnavailable, _storage_away),
    (
        ConfigError,
        lambda error: f"This server is not set up for that: {'; '.join(error.mistakes)}.",
    ),
    (
        RecordRefused,
        lambda _: "The command is too large for the service's log: make the input smaller.",
    ),
)
