"""`dead-letters`: what was set aside, why, and putting it back."""

import re
from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.events import headers_of
from consumer.cli.letters import masked, print_letter, print_letters, row_of
from consumer.cli.replay import (
    new_replay,
    note_absence,
    progress,
    rate_option,
    reason_of,
    tell,
    told_when_cut,
)
from consumer.cli.setup import Explained, ExplainedGroup, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import Failed, note, print_json
from consumer.core.replay import Replay
from consumer.ports import Record
from consumer.replaying import (
    FoundLetter,
    Pace,
    Replayer,
    Tally,
    Wanted,
    find_letters,
    letter_at,
    replay_letters,
)

if TYPE_CHECKING:
    from consumer.settings import Settings

_BEFORE_ID = re.compile(r"^.*dead-letters/(?=[0-9]+/[0-9]+$)")

_reasons = click.option(
    "--reason",
    "reasons",
    multiple=True,
    metavar="WORD",
    help="Only those set aside for this reason, like undecodable. Repeat it.",
)


@click.group(
    name="dead-letters",
    cls=ExplainedGroup,
    example="""\
fal-consumer dead-letters list --waiting
fal-consumer dead-letters show 0/17
fal-consumer dead-letters replay 0/17 --why 'mended in 0.2'""",
)
def dead_letters() -> None:
    """
    What was set aside, whole, because nobody here could use it.

    A letter is named by its ID, partition/offset on fal.dead-letters, or by its event id.
    """


@dead_letters.command(
    name="list",
    cls=Explained,
    short_help="List dead letters, and why each was set aside.",
    example="fal-consumer dead-letters list --waiting --reason undecodable",
)
@_reasons
@click.option("--handler", default="", metavar="NAME", help="Only those that this one set aside.")
@click.option("--key", metavar="ID", help="Only those with this key, a request id.")
@click.option("--waiting", is_flag=True, help="Only those that were never put back.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many at most, the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each.")
@with_settings
def list_letters(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    reasons: tuple[str, ...],
    handler: str,
    key: str | None,
    waiting: bool,
    limit: int,
    as_json: bool,
) -> None:
    """
    List dead letters, oldest first: why, from where, how often it was tried.

    Reads the log; `serve` may run or not. No bodies are shown.
    """
    log_to_stderr()
    wanted = Wanted(frozenset(), frozenset(reasons), handler, key, waiting_only=waiting)
    found = run_loop(_found(settings, wanted))
    shown = found[-limit:]
    if as_json:
        for letter in shown:
            print_json(row_of(letter))
    elif shown:
        print_letters(shown)
        if len(found) > limit:
            note(f"the newest {limit} of {len(found)} (--limit)")
    else:
        note("no such dead letters")


@dead_letters.command(
    cls=Explained,
    short_help="Show one dead letter with its headers.",
    example="fal-consumer dead-letters show 0/17",
)
@click.argument("name", metavar="ID")
@click.option(
    "--body", "with_body", is_flag=True, help="Also the bytes, control characters escaped."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line; --body as base64.")
@with_settings
def show(settings: "Settings", *, name: str, with_body: bool, as_json: bool) -> None:
    """
    Show one dead letter: what it says of itself, and its headers.

    Secrets are masked, the callback token among them. Exit code 1: there is no such letter.
    """
    log_to_stderr()
    letters = run_loop(_shown(settings, _ids((name,))))
    if not letters:
        raise _unknown([name])
    for found, record in letters:
        if as_json:
            row = {**row_of(found), "headers": masked(headers_of(record))}
            body = {"value_base64": b64encode(record.value).decode("ascii")} if with_body else {}
            print_json({**row, **body})
        else:
            print_letter(found, record, with_body=with_body)


@dead_letters.command(
    cls=Explained,
    short_help="Put dead letters back where they came from.",
    example="""\
fal-consumer dead-letters replay 0/17 0/21 --why 'the new version reads them'
fal-consumer dead-letters replay --reason no_fal_key --why 'the key is set' --dry-run""",
)
@click.argument("names", metavar="[ID…]", nargs=-1)
@_reasons
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option(
    "--why", required=True, callback=reason_of, metavar="TEXT", help="Why; it is recorded."
)
@click.option("--again", is_flag=True, help="With --reason or --all: also those put back before.")
@rate_option
@click.option("--dry-run", is_flag=True, help="Only count what would be put back.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line with the counts.")
@with_settings
def replay(
    settings: "Settings", *, names: tuple[str, ...], why: str, as_json: bool, **options: Any
) -> None:
    """
    Put dead letters back where they came from, for the handler that set them aside.

    Each goes back as it was, with marks (ce_falreplay…). It is harmless: what was done is not
    done again, and a submit is never sent. A letter that dies again is a new one, its attempts
    counted on. Those put back before are left out, unless named or with --again. Exit code 1:
    there is no such letter, or it cannot be put back.
    """
    log_to_stderr()
    if sum(map(bool, (names, options["reasons"], options["every"]))) != 1:
        raise click.UsageError("give IDs, or --reason, or --all")
    is_named = bool(names)
    wanted = Wanted(
        _ids(names),
        frozenset(options["reasons"]),
        waiting_only=not (is_named or options["again"]),
    )
    letters = run_loop(_found(settings, wanted))
    _require(names, letters)
    by = new_replay(why)
    if options["dry_run"]:
        tally = Tally(replayed=len(letters))
    else:
        tally = run_loop(_replay(settings, by, letters, options["rate"]))
    tell(tally, by, is_dry=options["dry_run"], as_json=as_json)


async def _found(settings: "Settings", wanted: Wanted) -> list[FoundLetter]:
    from consumer.app import open_log  # noqa: PLC0415

    async with open_log(settings) as log:
        return await find_letters(log, wanted)


async def _shown(settings: "Settings", ids: frozenset[str]) -> list[tuple[FoundLetter, Record]]:
    from consumer.app import open_log  # noqa: PLC0415

    async with open_log(settings) as log:
        letters = await find_letters(log, Wanted(ids))
        records = [(found, await letter_at(log, found)) for found in letters]
    return [(found, record) for found, record in records if record is not None]


async def _replay(
    settings: "Settings", by: Replay, letters: Sequence[FoundLetter], rate: int
) -> Tally:
    from consumer.app import open_log, utc_now  # noqa: PLC0415

    async with open_log(settings) as log:
        with progress("dead letters") as shown:
            replayer = Replayer(log, by, clock=utc_now, pace=Pace(rate), shown=shown)
            with told_when_cut(replayer):
                await replay_letters(log, replayer, by, letters)
    note_absence(settings)
    return replayer.tally


def _ids(names: Sequence[str]) -> frozenset[str]:
    """Return names as letters have them: `fal.dead-letters/0/17` is `0/17`."""
    return frozenset(_BEFORE_ID.sub("", name) for name in names)


def _require(names: Sequence[str], letters: Sequence[FoundLetter]) -> None:
    """Raise Failed where a name names no letter."""
    known = {name for found in letters for name in (found.id, found.letter.event_id)}
    missing = [name for name in names if not _ids((name,)) & known]
    if missing:
        raise _unknown(missing)


def _unknown(names: Sequence[str]) -> Failed:
    return Failed(
        f"no such dead letter: {', '.join(names)}",
        "`fal-consumer dead-letters list` names them; retention may have taken it",
    )
