"""`topics`: the topics on Kafka, looked at and made; the rights on them, printed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from consumer.cli.setup import Explained, log_to_stderr, run_loop, with_settings
from consumer.cli.terminal import Narrator, print_json, print_table, short_span, word

if TYPE_CHECKING:
    from consumer.app.topics import ClusterLook, Step
    from consumer.log.kafka.acls import Part, User
    from consumer.log.kafka.topics import TopicState
    from consumer.settings import Settings

_MIB = 1024 * 1024
_DEFAULT_PARTITIONS = 12
_HOW = """\
# Run these as a user who may alter the cluster. The brokers need an authorizer, and
# allow.everyone.if.no.acl.found=false; brokers older than 2.8 also need IdempotentWrite on the
# cluster for whoever writes. admin.properties is a file of yours: how that user logs in."""


class _Topics(Explained, click.Group):
    """The group; without a verb of its own it checks."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `topics --json` for `topics check --json`."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["check", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Topics,
    example="""\
fal-consumer topics create
fal-consumer topics acls --receiver hooks --worker jobs --reader billing""",
)
def topics() -> None:
    """Check the topics on Kafka, make them, and print the rights that their users need."""


@topics.command(cls=Explained, example="fal-consumer topics check")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each row.")
@with_settings
def check(settings: "Settings", *, as_json: bool) -> None:
    """
    Show each topic, and what is not as it must be. Changes nothing.

    Exit code 0: as needed, warnings allowed; 1: not as needed, or Kafka does not answer;
    2: a setting is wrong.
    """
    from consumer.app.topics import look_at_topics  # noqa: PLC0415

    log_to_stderr()
    look = run_loop(look_at_topics(settings))
    if as_json:
        for row in _lines(look):
            print_json(row)
    else:
        _print(look)
    click.get_current_context().exit(0 if look.is_as_needed else 1)


@topics.command(cls=Explained, example="fal-consumer topics create --partitions 24 --dry-run")
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=_DEFAULT_PARTITIONS,
    show_default=True,
    help="Of topics that are made; those that are there keep theirs.",
)
@click.option(
    "--replication",
    type=click.IntRange(1, 100),
    default=None,
    help="Likewise: copies of each record. [default: 3; with a single broker 1]",
)
@click.option("--fix", is_flag=True, help="Set configuration that is not as needed.")
@click.option("--dry-run", is_flag=True, help="Only ask the brokers whether they would.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each topic.")
@with_settings
def create(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    partitions: int,
    replication: int | None,
    fix: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """
    Make the topics that are missing; twice is harmless.

    Nothing is deleted or made smaller. Exit code 0: all are as needed; 1: one is left as it
    was and says why, or was refused; 2: a setting is wrong.
    """
    from consumer.app.topics import MakeOrder, make_topics  # noqa: PLC0415

    log_to_stderr()
    with Narrator() as narrator:
        narrator.step("asking the brokers")
        order = MakeOrder(partitions, replication, fix, dry_run)
        steps = run_loop(make_topics(settings, order))
    if as_json:
        for step in steps:
            print_json({"topic": step.name, "did": step.did, "text": step.text})
    else:
        _print_steps(steps)
    click.get_current_context().exit(0 if all(step.is_fine for step in steps) else 1)


@topics.command(cls=Explained, example="fal-consumer topics acls --submitter shop | sh")
@click.option("--receiver", multiple=True, metavar="USER", help="Runs `receive`. Repeat it.")
@click.option("--worker", multiple=True, metavar="USER", help="Runs `work`. Repeat it.")
@click.option("--submitter", multiple=True, metavar="USER", help="Writes commands. Repeat it.")
@click.option(
    "--reader",
    multiple=True,
    metavar="USER[:GROUP]",
    help="Reads results, in a group of its own (named like the user). Repeat it.",
)
@click.option(
    "--operator",
    multiple=True,
    metavar="USER",
    help="Makes topics, replays dead letters. Repeat it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each right.")
@with_settings
def acls(settings: "Settings", *, as_json: bool, **named: tuple[str, ...]) -> None:
    """
    Print the rights that Kafka users need, as calls of Kafka's own kafka-acls.sh.

    Asks nobody. Without any USER: for `fal-receiver` and `fal-worker`.
    """
    from consumer.app.topics import topic_acls  # noqa: PLC0415
    from consumer.log.kafka.acls import Part, as_fields  # noqa: PLC0415

    users = [_user(Part(part), text) for part, texts in named.items() for text in texts]
    if not users:
        users = [_user(part, f"fal-{part}") for part in (Part.RECEIVER, Part.WORKER)]
    rights, lines = topic_acls(settings, users)
    if as_json:
        for right in rights:
            print_json(as_fields(right))
    else:
        click.echo("\n".join((_HOW, *lines)))


def _user(part: "Part", text: str) -> "User":
    from consumer.log.kafka.acls import User  # noqa: PLC0415

    name, group = text, ""
    if part == "reader":
        name, _, group = text.removeprefix("User:").partition(":")
    if not name.removeprefix("User:") or not name.isprintable():
        raise click.BadParameter("expected the name of a Kafka user", param_hint=f"--{part}")
    return User(part, name, group)


# ---------------------------------------------------------------- showing


def _print(look: "ClusterLook") -> None:
    columns = ("TOPIC", "PARTITIONS", "COPIES", "MIN ISR", "KEPT", "LARGEST", "VERDICT", "FOUND")
    print_table(columns, [_row(state) for state in look.topics])
    click.echo()
    print_table(
        ("KAFKA", "VERDICT", "FOUND"),
        [(name, word(one.verdict), one.text) for name, one in look.findings],
    )


def _row(state: "TopicState") -> tuple[Any, ...]:
    found = state.found
    configs = (found.configs or {}) if found else {}
    return (
        state.needs.name,
        str(found.partitions) if found else "",
        str(found.replication) if found else "",
        configs.get("min.insync.replicas", ""),
        _kept(configs.get("retention.ms", "")),
        _size(configs.get("max.message.bytes", "")),
        word(state.verdict),
        "; ".join(one.text for one in state.findings),
    )


def _kept(text: str) -> str:
    if not text.isdigit():
        return "for ever" if text == "-1" else text
    return short_span(timedelta(milliseconds=int(text)))


def _size(text: str) -> str:
    return f"{int(text) / _MIB:.1f} MiB" if text.isdigit() else text


def _lines(look: "ClusterLook") -> list[dict[str, Any]]:
    return [
        *(
            {
                "kind": "topic",
                "topic": state.needs.name,
                "verdict": state.verdict,
                "text": "; ".join(one.text for one in state.findings),
                "partitions": state.found.partitions if state.found else None,
                "replication": state.found.replication if state.found else None,
                "configs": dict(state.found.configs or {}) if state.found else None,
                "fixes": dict(state.fixes),
            }
            for state in look.topics
        ),
        *(
            {"kind": "kafka", "name": name, "verdict": one.verdict, "text": one.text}
            for name, one in look.findings
        ),
    ]


def _print_steps(steps: "Sequence[Step]") -> None:
    print_table(
        ("TOPIC", "DONE", "WHY"),
        [(step.name, word(step.did), step.text) for step in steps],
        whole=2,
    )
