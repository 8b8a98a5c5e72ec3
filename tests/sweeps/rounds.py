"""A round of the sweep for overdue requests, with everything that follows from it."""

from datetime import timedelta

from tests.handlers.stage import Stage


async def after(stage: Stage, span: timedelta = timedelta(0)) -> None:
    """Let time pass, then one round, and everything that follows from it."""
    stage.clock.advance(span)
    await stage.reconcile.round()
    await stage.catch_up()
    for record in stage.log.records():
        if record.position.topic == "completions":
            await stage.fetch.handle(record, 1)
    await stage.catch_up()


def told(stage: Stage, *names: str) -> list[tuple]:
    return [tuple(result[name] for name in names) for result in stage.told()]
