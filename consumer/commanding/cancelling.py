"""What became of a cancel command, read from the log and the ledger."""

from dataclasses import dataclass, replace

from consumer.commanding.desk import Desk, facts_about, raise_if_set_aside
from consumer.core.command import Cancel, parse_command
from consumer.core.event import Event
from consumer.core.fact import FactName, group_cancelled_id
from consumer.core.standing import State
from consumer.ports import Ledger


@dataclass(frozen=True, slots=True)
class Cancelled:
    """
    What became of a cancel: a word for programs, a sentence for people.

    `answer` is fal's own word where it refused: `ALREADY_COMPLETED` or `NOT_FOUND`.
    """

    outcome: str
    sentence: str
    is_on_its_way: bool
    answer: str = ""


_OUTCOMES = {
    FactName.CANCELLED: Cancelled("removed", "fal took it out of the queue", is_on_its_way=True),
    FactName.CANCEL_ACCEPTED: Cancelled(
        "asked", "fal was asked to stop it; it is followed to its end", is_on_its_way=True
    ),
    FactName.CANCEL_REFUSED: Cancelled(
        "refused", "fal no longer cancels it: it is done, or unknown there", is_on_its_way=False
    ),
    FactName.CANCEL_REMEMBERED: Cancelled(
        "remembered",
        "its request id is not known yet; fal is asked as soon as it is",
        is_on_its_way=True,
    ),
    FactName.GROUP_CANCELLED: Cancelled(
        "asked", "what waits is removed, what runs is stopped", is_on_its_way=True
    ),
    FactName.STOPPED: Cancelled("stopped", "it is never sent to fal", is_on_its_way=True),
}


async def cancel_by(desk: Desk, command: Event) -> Cancelled:
    """
    Put a cancel command on the log and return what came of it; of a group, that it is cancelled:
    its members follow, one by one.

    Nothing is asked where the request has ended already. Raises CommandRefused and NoService;
    has no deadline of its own.
    """
    asked = parse_command(command.data)
    group = asked.group if isinstance(asked, Cancel) else None
    ended = await _ended(desk.ledger, command.subject)
    if ended is not None:
        return ended
    await desk.ask(command)
    while True:
        news = await desk.look()
        raise_if_set_aside(news, command)
        names = await _names(desk.ledger, command.subject)
        if group is not None:
            names = {group_cancelled_id(group)}
        for fact in facts_about(news, names):
            if fact.name in _OUTCOMES:
                answer = str(fact.detail.get("answer", ""))
                return replace(_OUTCOMES[fact.name], answer=answer)
        ended = await _ended(desk.ledger, command.subject)
        if ended is not None:
            return ended


async def _names(ledger: Ledger, subject: str) -> set[str]:
    """Return the ids under which facts about the subject may appear."""
    submission = await ledger.submission(subject)
    bound = submission.request.value if submission and submission.request else ""
    return {subject, bound} - {""}


async def _ended(ledger: Ledger, subject: str) -> Cancelled | None:
    """Return that there is nothing left to cancel, or None."""
    for name in await _names(ledger, subject):
        request = await ledger.request(name)
        if request is not None and request.end is not None:
            state = request.end.state
            is_cancelled = state is State.CANCELLED
            return Cancelled("ended", f"it has ended: {state.value}", is_cancelled)
    return None
