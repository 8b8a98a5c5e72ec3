"""`timeline`: the whole life of one request, as facts in order, deliveries and the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import (
    Failed,
    console,
    foreign,
    print_json,
    print_table,
    short_span,
    word,
)
from consumer.core.cancellation import Happened, cancellation_of
from consumer.core.command import submission_id_of
from consumer.core.event import format_time
from consumer.core.fact import Fact
from consumer.core.projection import Evidence
from consumer.core.public import public_request
from consumer.core.standing import Request, Submission
from consumer.core.text import parse_json
from consumer.ports import Ledger

if TYPE_CHECKING:
    from consumer.settings import Settings

_MAX_DETAIL_CHARS = 60
_SHOWN_DETAIL = (
    "policy",
    "status",
    "answer",
    "by",
    "reason",
    "position",
    "http_status",
    "error_type",
    "error",
    "endpoint",
)


@dataclass(frozen=True, slots=True)
class Life:
    """All that the ledger holds about one subject."""

    request: Request | None
    submission: Submission | None
    facts: Sequence[Fact]
    deliveries: Sequence[Evidence]
    result: dict[str, Any] | None


@click.command(cls=Explained, example="fal-consumer timeline 019f6af7-3088-7f03-b97d-84fec4a3ce12")
@click.argument("subject", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, each with its `kind`.")
@with_settings
def timeline(settings: "Settings", *, subject: str, as_json: bool) -> None:
    """
    Tell the whole life of one request: every fact in order, and who told it.

    ID is a request id, a submission id (sub_…) or the --id of a submit. Exit code 1: nobody
    has heard of it. `serve` may run or not.
    """
    log_to_stderr()
    life = run_loop(_read(settings, subject))
    if not (life.request or life.submission or life.facts):
        raise Failed(
            f"no such request: {subject}",
            "it may belong to another data folder (FAL_CONSUMER_DATA_DIR), "
            "or nobody tracks it yet: fal-consumer track ENDPOINT ID",
        )
    if as_json:
        _print_lines(life)
    else:
        _print_page(life)


async def _read(settings: "Settings", subject: str) -> Life:
    from consumer.app import open_ledger  # noqa: PLC0415

    if not subject:  # facts without a submission, or without a request, carry an empty id
        return Life(None, None, (), (), None)
    async with open_ledger(settings) as ledger:
        for name in (subject, subject.lower(), submission_id_of(subject)):
            life = await _life(ledger, name)
            if life.facts or life.request:
                return life
        return life


async def _life(ledger: Ledger, subject: str) -> Life:
    submission = await ledger.submission(subject)
    bound = submission.request.value if submission and submission.request else subject
    request = await ledger.request(bound)
    if submission is None and request is not None and request.submission is not None:
        submission = await ledger.submission(request.submission.value)
    document = await ledger.result(bound) or await ledger.result(subject)
    return Life(
        request,
        submission,
        await ledger.timeline(subject),
        await ledger.evidence(bound),
        parse_json(document) if document else None,
    )


# ---------------------------------------------------------------- for programs


def _print_lines(life: Life) -> None:
    if life.request is not None:
        print_json({"kind": "request", **public_request(life.request)})
    if life.submission is not None:
        print_json({"kind": "submission", **life.submission.model_dump(mode="json")})
    for fact in life.facts:
        print_json({"kind": "fact", **_fact_row(fact)})
    for evidence in life.deliveries:
        print_json({"kind": "delivery", **_delivery_row(evidence)})
    if life.result is not None:
        print_json({"kind": "result", **life.result})


def _fact_row(fact: Fact) -> dict[str, Any]:
    return {
        "fact": fact.name.value,
        "witness": fact.witness.value,
        "at": format_time(fact.at),
        "id": fact.id,
        "request_id": fact.request_id or None,
        "submission_id": fact.submission_id or None,
        "signed": fact.signed,
        "counts": fact.counts,
        "account": fact.account or None,
        "detail": dict(fact.detail),
    }


def _delivery_row(evidence: Evidence) -> dict[str, Any]:
    return {
        "received_at": format_time(evidence.received_at),
        "account": evidence.user_id,
        "timestamp": evidence.timestamp,
        "kid": evidence.kid,
        "source": evidence.source,
        "counts": evidence.counts,
        "body_sha256": evidence.body_sha256,
        "body_bytes": len(evidence.body),
    }


# ---------------------------------------------------------------- for people


def _print_page(life: Life) -> None:
    out = console()
    for line in _heading(life):
        out.print(line)
    out.print()
    first_at = life.facts[0].at if life.facts else None
    rows = [
        (
            fact.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            f"+{short_span(fact.at - first_at)}" if first_at else "",
            word(fact.name.value) if fact.counts else foreign(f"({fact.name.value})"),
            fact.witness.value + (", signed" if fact.signed else ""),
            _detail_of(fact),
        )
        for fact in life.facts
    ]
    print_table(("WHEN (UTC)", "SINCE", "FACT", "TOLD BY", "DETAIL"), rows, whole=3)
    out.print()
    for line in _ending(life):
        out.print(line, soft_wrap=True)


def _heading(life: Life) -> list[Text]:
    lines = []
    if life.request is not None:
        request = life.request
        endpoint = f"  {request.endpoint.value}" if request.endpoint else ""
        head = Text.assemble("request ", foreign(request.request_id), "  ")
        lines.append(head + word(request.state.value) + foreign(endpoint))
        if request.has_conflict:
            lines.append(Text("two different ends were told; the higher one stands"))
        if not request.is_tracked and not request.is_ours:
            lines.append(Text("nobody tracks it: it is recorded, and nothing follows"))
    if life.submission is not None:
        submission = life.submission
        head = Text.assemble("submission ", foreign(submission.submission_id), "  ")
        lines.append(head + word(submission.state.value) + foreign(f"  {submission.reason}"))
    tags = (life.request and life.request.tags) or (life.submission and life.submission.tags)
    if tags:
        lines.append(foreign("tags " + ", ".join(f"{key}={tags[key]}" for key in tags)))
    return lines


def _ending(life: Life) -> list[Text]:
    lines = []
    if life.deliveries:
        genuine = sum(evidence.counts for evidence in life.deliveries)
        count = len(life.deliveries)
        noun = "delivery" if count == 1 else "deliveries"
        lines.append(Text(f"evidence: {count} webhook {noun}, {genuine} from our account"))
    lines += _cancelled(life.request)
    result = life.result
    if result is None:
        lines.append(Text("no result yet"))
        return lines
    told = f", told by {result.get('witness')}, revision {result.get('revision')}"
    lines.append(Text("result: ") + word(str(result.get("outcome"))) + foreign(told))
    for name, label in (("error", "error"), ("reason", "reason"), ("output_missing", "no output")):
        if result.get(name):
            lines.append(foreign(f"  {label}: {result[name]}"))
    if result.get("outcome") == "succeeded":
        lines += [foreign(f"  {media.get('url')}") for media in result.get("media") or []]
    if result.get("billable_units") is not None:
        lines.append(foreign(f"  billable units: {result['billable_units']}"))
    return lines


_BECAME = {
    Happened.WANTED: "not asked yet",
    Happened.ASKED: "asked; not ended yet",
    Happened.REMOVED: "removed from the queue",
    Happened.STOPPED: "stopped while running",
    Happened.COMPLETED: "completed anyway",
    Happened.REFUSED: "refused",
    Happened.LOST: "nobody can tell",
}


def _cancelled(request: Request | None) -> list[Text]:
    """Return what became of a cancellation, in one line, or nothing."""
    found = cancellation_of(request) if request else None
    if found is None:
        return []
    words = _BECAME[found.happened]
    if found.is_billed and found.happened is not Happened.REMOVED:
        words += ", billed"
    told = f" ({found.policy}; fal said {found.answer})" if found.answer else f" ({found.policy})"
    return [Text("cancel: ") + foreign(words + told)]


def _detail_of(fact: Fact) -> str:
    found = [
        f"{key}={fact.detail[key]}" for key in _SHOWN_DETAIL if fact.detail.get(key) is not None
    ]
    text = "  ".join(found)
    return text if len(text) <= _MAX_DETAIL_CHARS else text[: _MAX_DETAIL_CHARS - 1] + "…"
