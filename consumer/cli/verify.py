"""
`verify`: fal's signature on a delivery, checked again, without a service and without a log.

The decision is `core.signature.verify`, the very one that the receiver makes; here are only
the files around it.
"""

import json
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import click

from consumer.cli.setup import Explained, content
from consumer.cli.terminal import foreign, note, print_json
from consumer.core.completion import delivery_from
from consumer.core.delivery import TIMESTAMP_TOLERANCE, Delivery, read_headers
from consumer.core.event import Event, EventType, decode, format_time, parse_time
from consumer.core.keys import PublicKey, parse_keys, public_key
from consumer.core.signature import verify as verify_delivery
from consumer.errors import (
    BadKeySet,
    BadSignature,
    EventError,
    ExpiredTimestamp,
    MalformedDelivery,
    UndecodableEvent,
)

_UNIX = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one delivery is worth. `failed` names the check: headers, timestamp or signature."""

    genuine: bool
    failed: str | None = None
    problem: str | None = None
    request_id: str | None = None
    account: str | None = None
    signed_at: int | None = None
    body_sha256: str | None = None
    key: str | None = None
    kid: str | None = None

    def sentence(self) -> str:
        """Return the verdict for people."""
        if not self.genuine:
            return f"not genuine: {self.failed}: {self.problem}"
        key = self.kid or self.key
        return f"genuine: request {self.request_id}, account {self.account}, key {key}"


def _time(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        if _UNIX.fullmatch(given):
            return datetime.fromtimestamp(int(given), UTC)
        return parse_time(given)
    except (ValueError, OverflowError, OSError) as exc:
        raise click.BadParameter("expected Unix seconds or RFC 3339 with an offset") from exc


@click.command(
    cls=Explained,
    example="""\
fal-consumer verify --body delivery.body --headers headers.json --jwks jwks.json --at 1784206014
fal-consumer events --topic fal.completions --json | fal-consumer verify --record -""",
)
@click.option("--body", callback=content, metavar="FILE", help="The body, byte for byte.")
@click.option("--headers", callback=content, metavar="FILE.json", help="The HTTP headers.")
@click.option("--jwks", callback=content, metavar="FILE", help="fal's key set of that day.")
@click.option(
    "--at",
    metavar="TIME",
    callback=_time,
    help="When it was received: Unix seconds or RFC 3339.",
)
@click.option("--record", callback=content, metavar="FILE", help="Lines of `events --json`.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each verdict.")
def verify(
    *,
    jwks: bytes | None,
    at: datetime | None,
    record: bytes | None,
    as_json: bool,
    **files: bytes | None,
) -> None:
    """
    Check fal's signature on a delivery again, offline.

    Give --body, --headers, --jwks and --at; or --record with lines of the log: they carry the
    key they were verified with, --jwks holds them to a key set of yours. Exit code 0: genuine;
    1: not, and which check failed (headers, timestamp, signature); 2: unusable input.
    """
    keys = _keys(jwks)
    if record is not None:
        verdicts = _judge_lines(record, keys, at)
    else:
        body, headers = files["body"], files["headers"]
        if body is None or headers is None or keys is None or at is None:
            raise click.UsageError("give --body, --headers, --jwks and --at, or --record")
        verdicts = [_judge_parts(body, _pairs(headers), keys, at)]
    for verdict in verdicts:
        if as_json:
            print_json(asdict(verdict))
        else:
            click.echo(foreign(verdict.sentence()).plain)
    if record is not None and keys is None:
        note("the keys are those that the records name; give --jwks to hold them to fal's")
    click.get_current_context().exit(0 if all(verdict.genuine for verdict in verdicts) else 1)


def _judge_parts(
    body: bytes, pairs: Sequence[tuple[bytes, bytes]], keys: Sequence[PublicKey], at: datetime
) -> Verdict:
    try:
        delivery = Delivery(read_headers(pairs), body, at)
    except MalformedDelivery as exc:
        return Verdict(genuine=False, failed="headers", problem=str(exc))
    return _judge(delivery, keys, at)


def _judge(delivery: Delivery, keys: Sequence[PublicKey], at: datetime) -> Verdict:
    headers = delivery.headers
    verdict = Verdict(
        genuine=False,
        request_id=headers.request_id,
        account=headers.user_id,
        signed_at=int(headers.timestamp),
        body_sha256=delivery.body_sha256,
    )
    try:
        verified = verify_delivery(delivery, tuple(keys), now=at)
    except ExpiredTimestamp as exc:
        allowed = round(TIMESTAMP_TOLERANCE.total_seconds())
        where = "before" if exc.age_s > 0 else "after"
        problem = f"signed {abs(exc.age_s)} s {where} {format_time(at)}; {allowed} s are allowed"
        return replace(verdict, failed="timestamp", problem=problem)
    except BadSignature as exc:
        return replace(verdict, failed="signature", problem=str(exc))
    return replace(verdict, genuine=True, key=verified.key.text, kid=verified.key.kid or None)


# ---------------------------------------------------------------- evidence from the log


def _judge_lines(
    text: bytes, keys: Sequence[PublicKey] | None, at: datetime | None
) -> list[Verdict]:
    """Return a verdict for each signed record; what was found by asking has no signature."""
    lines = [line for line in text.splitlines() if line.strip()]
    events = [_event(line, number) for number, line in enumerate(lines, start=1)]
    signed = [event for event in events if event.type is EventType.WEBHOOK_COMPLETION]
    if not signed:
        raise click.UsageError("--record: no signed delivery in it (completion.webhook)")
    if len(signed) < len(events):
        note(f"{len(events) - len(signed)} records carry no signature and are left out")
    return [_judge_event(event, keys, at or event.time) for event in signed]


def _judge_event(event: Event, keys: Sequence[PublicKey] | None, at: datetime) -> Verdict:
    try:
        delivery = delivery_from(event)
        chosen = keys if keys is not None else [_key_named(event)]
    except UndecodableEvent as exc:
        return Verdict(genuine=False, failed="headers", problem=str(exc))
    return _judge(delivery, chosen, at)


def _key_named(event: Event) -> PublicKey:
    """Return the key that the record says it was verified with. Raises UndecodableEvent."""
    try:
        raw = urlsafe_b64decode(event.extensions["falkey"] + "==")
        return public_key(raw, event.extensions.get("falkid", ""))
    except (KeyError, ValueError, BadKeySet) as exc:
        raise UndecodableEvent("ce_falkey", "no usable key") from exc


def _event(line: bytes, number: int) -> Event:
    try:
        fields = json.loads(line)
        value = b64decode(fields["value_base64"], validate=True)
        pairs = [(name, text.encode()) for name, text in fields["headers"].items()]
        return decode(pairs, value)
    except EventError as exc:
        raise click.UsageError(f"--record: line {number}: {exc}") from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise click.UsageError(f"--record: line {number} is no line of `events --json`") from exc


# ---------------------------------------------------------------- files


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a header that is sent twice is seen twice."""


def _pairs(text: bytes) -> list[tuple[bytes, bytes]]:
    """Return headers from JSON: an object, or a list of [name, value]."""
    expected = "--headers: expected a JSON object of header names and values"
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as exc:
        raise click.UsageError(expected) from exc
    if isinstance(document, _Pairs):
        nested = [value for name, value in document if name == "headers"]
        document = nested[0] if nested else document
    try:
        return [
            (name.encode(), value.encode("utf-8", "surrogatepass"))
            for name, values in document
            for value in (values if isinstance(values, list) else [values])
        ]
    except (ValueError, TypeError, AttributeError) as exc:
        raise click.UsageError(expected) from exc


def _keys(jwks: bytes | None) -> tuple[PublicKey, ...] | None:
    if jwks is None:
        return None
    try:
        return parse_keys(jwks)
    except BadKeySet as exc:
        raise click.UsageError(f"--jwks: {exc.problem}") from exc
