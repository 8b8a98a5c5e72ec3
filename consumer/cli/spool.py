"""`spool`: what waits for Kafka on this machine, and what Kafka refused."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import Failed, Narrator, ago, note, print_json, print_table, word

if TYPE_CHECKING:
    from consumer.log.spool.upkeep import RefusedRecord, SpoolLook
    from consumer.settings import Settings


class _Spool(Explained, click.Group):
    """The group; without a verb of its own it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `spool --json` for `spool list --json`."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Spool,
    example="""\
fal-consumer spool
fal-consumer spool drain""",
)
def spool() -> None:
    """
    Look at what waits for Kafka on this machine, send it, try again what Kafka refused.

    A receiver puts events here while Kafka does not answer, and sends them by itself when it
    answers again. What a stopped receiver left is sent by the next one, or by `drain`.
    """


@spool.command("list", cls=Explained, example="fal-consumer spool list --json")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each spool.")
@with_settings
def list_spools(settings: "Settings", *, as_json: bool) -> None:
    """
    List the spools of the data folder: who holds each, what waits in it, what was refused.

    A receiver may run beside it. Exit code 0, also when events wait; 1: one cannot be read.
    """
    from consumer.app.spooling import look_at_spools  # noqa: PLC0415

    log_to_stderr()
    looks = look_at_spools(settings)
    if as_json:
        for look in looks:
            print_json(_line(look))
    elif looks:
        _print(looks)
    else:
        click.echo("no spool: nothing waits")
    if any(look.unreadable for look in looks):
        raise Failed("files of a spool cannot be read", "look at the disk; nothing is removed")


def _line(look: "SpoolLook") -> dict[str, Any]:
    return {
        "spool": look.name,
        "path": str(look.path),
        "held_by": look.holder,
        "waiting": look.waiting.total(),
        "waiting_by_topic": {topic.value: count for topic, count in look.waiting.items()},
        "refused": look.refused,
        "size_bytes": look.size_bytes,
        "oldest_at": None if look.oldest_at is None else look.oldest_at.isoformat(),
        "unreadable_files": look.unreadable,
    }


def _print(looks: "Sequence[SpoolLook]") -> None:
    from consumer.app import utc_now  # noqa: PLC0415

    rows = [
        (
            look.name,
            look.holder or "nobody",
            str(look.waiting.total()),
            "" if look.oldest_at is None else ago(look.oldest_at, utc_now()),
            str(look.refused),
            f"{look.size_bytes / 2**20:.1f} MiB",
        )
        for look in looks
    ]
    print_table(("SPOOL", "HELD BY", "WAITING", "OLDEST", "REFUSED", "ON DISK"), rows)


@spool.command(cls=Explained, example="fal-consumer spool drain")
@with_settings
def drain(settings: "Settings") -> None:
    """
    Send what waits in spools that no process holds, and remove those that are empty.

    A running receiver drains its own, which is left to it. Exit code 0: in the others nothing
    waits any more and nothing is refused; 1: something is left, for instance because Kafka took
    nothing for 30 seconds.
    """
    from consumer.app.spooling import drain_spools, look_at_spools  # noqa: PLC0415

    log_to_stderr()
    with Narrator() as narrator:
        end = run_loop(
            drain_spools(settings, lambda sent, total: narrator.step(f"sent {sent} of {total}"))
        )
    click.echo(f"{end.sent} sent, {end.waiting} still waiting, {end.refused} refused")
    for look in look_at_spools(settings):
        if look.holder and look.waiting:
            note(f"{look.name}: {look.holder} sends {look.waiting.total()} by itself")
    if end.waiting:
        raise Failed("Kafka does not take what waits", "fal-consumer check tells what is wrong")
    if end.refused:
        raise Failed("Kafka refuses records, dead letters and all", "fal-consumer spool show")


@spool.command(cls=Explained, example="fal-consumer spool retry && fal-consumer spool drain")
@with_settings
def retry(settings: "Settings") -> None:
    """
    Let what Kafka refused be tried again, once its reason is mended.

    A spool that a process holds is tried by that process, within seconds; any other one by the
    next receiver or `spool drain`.
    """
    from consumer.app.spooling import retry_refused  # noqa: PLC0415

    log_to_stderr()
    retried = run_loop(retry_refused(settings))
    if not retried:
        click.echo("nothing is refused")
    for one in retried:
        how = f"{one.holder} was asked to try again" if one.holder else "waiting again"
        click.echo(f"{one.spool}: {one.records} {how}")


@spool.command(cls=Explained, example="fal-consumer spool show --json | jq -r .problem")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each record.")
@with_settings
def show(settings: "Settings", *, as_json: bool) -> None:
    """Show what Kafka refused, dead letter and all, and why. Bodies are not shown."""
    log_to_stderr()
    run_loop(_show(settings, as_json=as_json))


async def _show(settings: "Settings", *, as_json: bool) -> None:
    from consumer.app.spooling import refused_records  # noqa: PLC0415

    rows = []
    async with aclosing(refused_records(settings)) as found:
        async for one in found:
            line = _refused_line(one)
            if as_json:
                print_json(line)
            else:
                rows.append(line)
    if rows:
        table = [
            (
                row["key"],
                row["since"][:19],
                word(row["reason"]),
                str(row["size_bytes"]),
                row["problem"],
            )
            for row in rows
        ]
        print_table(("KEY", "SINCE", "REASON", "BYTES", "KAFKA SAYS"), table)
    elif not as_json:
        click.echo("nothing is refused")


def _refused_line(one: "RefusedRecord") -> dict[str, Any]:
    headers = {name: value.decode("utf-8", "replace") for name, value in one.record.headers}
    return {
        "spool": one.spool,
        "topic": one.record.position.topic.value,
        "key": one.record.key,
        "since": one.record.appended_at.isoformat(),
        "reason": headers.get("dlreason", ""),
        "size_bytes": one.size,
        "problem": one.problem,
    }
