"""
The command line: `main`, and the list of verbs.

A verb's module is imported when the verb is used: `--help` must answer at once. Standard
output carries only what was asked for; everything else goes to standard error.
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple, NoReturn

import click

from consumer.errors import ConfigError, ConsumerError, LedgerUnavailable, Unavailable

PROGRAM = "fal-consumer"


class Verb(NamedTuple):
    """One verb as the group's help lists it; `module.attribute` is the command itself."""

    name: str
    home: str
    help: str


SECTIONS: dict[str, tuple[Verb, ...]] = {
    "Run": (
        Verb("serve", "serve.serve", "Receive, follow up, record: the whole service."),
        Verb("receive", "serve.receive", "Receive alone: verify, and publish to Kafka."),
        Verb("work", "serve.work", "Work alone: handlers and sweeps over Kafka."),
        Verb("check", "check.check", "Look for what is wrong before it matters."),
        Verb("topics", "topics.topics", "Make and check the topics on Kafka; print their rights."),
        Verb("ledger", "ledger.ledger", "Look after the ledger: its schema, and moving it."),
        Verb("spool", "spool.spool", "What waits for Kafka on this machine; send it, retry it."),
        Verb("demo", "demo.demo", "See it work: no key, no network, half a minute."),
        Verb("simulate", "simulate.simulate", "Run a stand-in for fal on this machine."),
    ),
    "Ask for work": (
        Verb("submit", "submit.submit", "Submit a job, once, and follow it."),
        Verb("track", "asking.track", "Follow a request that somebody else submitted."),
        Verb("cancel", "asking.cancel", "Ask fal to stop a request."),
        Verb("callback-url", "callback.callback_url", "Print a webhook address for your own jobs."),
    ),
    "Ask fal": (
        Verb("status", "status.status", "Where a request stands at fal."),
        Verb("stream", "status.stream", "Follow a request at fal: queue, state, logs."),
        Verb("result", "result.result", "Read a result from fal; save its files."),
        Verb("models", "catalogue.models", "List and search fal's models."),
        Verb("pricing", "catalogue.pricing", "What a unit of a model costs you."),
        Verb("estimate", "catalogue.estimate", "What calls or units would cost."),
        Verb("jwks", "jwks.jwks", "fal's public keys for webhooks."),
        Verb("mcp", "mcp.mcp", "Let agents do all that, as tools (Model Context Protocol)."),
    ),
    "Find out": (
        Verb("requests", "requests.requests", "List requests and where they stand."),
        Verb("stale", "stale.stale", "List what the policies would cancel now; cancel nothing."),
        Verb("timeline", "timeline.timeline", "Tell the whole life of one request."),
        Verb("events", "events.events", "Read the event log, a line per record."),
        Verb("dead-letters", "dead_letters.dead_letters", "What was set aside; put it back."),
        Verb("drift", "drift.drift", "Answers of fal that this version did not understand."),
        Verb("replay", "replay.replay", "Put records of a topic back on it, marked."),
        Verb("verify", "verify.verify", "Check fal's signature on a delivery again."),
        Verb("version", "version.version", "Print the version."),
    ),
}
"""Every verb, under the heading that the help shows it."""

_VERBS = {verb.name: verb for section in SECTIONS.values() for verb in section}


class Verbs(click.Group):
    """The verbs, loaded on use; turns errors of ours into sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all verbs."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a verb, importing its module, or None for an unknown one."""
        verb = _VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.home.partition(".")
        command: click.Command = getattr(import_module(f"consumer.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs by section, without loading them."""
        width = max(map(len, _VERBS))
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb.name.ljust(width), verb.help) for verb in verbs])

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb. Exit codes: 2 configuration, 1 everything else of ours, 130 Ctrl-C."""
        try:
            return super().invoke(ctx)
        except ConfigError as exc:
            for mistake in exc.mistakes:
                tell(mistake)
            ctx.exit(2)
        except Unavailable as exc:
            tell(_why(exc))
            ctx.exit(1)
        except ConsumerError as exc:
            tell(str(exc))
            ctx.exit(1)
        except ExceptionGroup as group:
            known, unknown = group.split(ConsumerError)
            if known is None or unknown is not None:
                raise
            for leaf in _leaves(known):
                tell(str(leaf))
            ctx.exit(1)
        except BrokenPipeError:
            _leave_pipe()
        except KeyboardInterrupt:
            ctx.exit(130)


def tell(sentence: str) -> None:
    """Say something on standard error, whatever the terminal."""
    # `printable` pulls no weight here, but its folder does: it is imported where it is used.
    from consumer.core.text import printable  # noqa: PLC0415

    click.echo(f"{PROGRAM}: {printable(sentence)}", err=True)


def _why(error: Unavailable) -> str:
    """Return what is away, as a sentence; the ledger names the database's own error only."""
    if isinstance(error, LedgerUnavailable):
        return f"the ledger does not answer ({error.problem}): try again; `check` looks at it"
    return error.problem


def _leaves(group: BaseExceptionGroup[ConsumerError]) -> Iterator[ConsumerError]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner


def _leave_pipe() -> NoReturn:
    """End quietly: whoever read our output has seen enough."""
    # What is still buffered would fail again when the interpreter closes the stream.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each verb explains itself: fal-consumer submit --help",
)
def main() -> None:
    """
    The service between fal.ai and your own systems: verified webhooks in, durable results out,
    every request accounted for.

    Settings come from the environment (FAL_KEY, FAL_CONSUMER_…) or from a TOML file; `check`
    shows them all.
    """
