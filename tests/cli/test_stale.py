"""`stale`: what would be cancelled now, by which policy, since when."""

import json
from datetime import timedelta

from consumer.core.event import format_time
from consumer.core.fact import FactName, Witness, fact_event, new_fact
from tests.cli.conftest import NOW

PAST, FUTURE = format_time(NOW - timedelta(hours=1)), "2999-01-01T00:00:00Z"


def listed(folder, *arguments: str) -> dict[str, tuple[str, str]]:
    shown = folder.run("stale", "--json", *arguments)
    assert (0, "") == (shown.returncode, shown.stderr)
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    return {row["request_id"]: (row["policy"], row["since"]) for row in rows}


def told(folder, number: int, name: FactName, witness: Witness, **detail):
    fact = new_fact(name, witness, NOW, request_id=folder.request_id(number), detail=detail)
    return fact_event(fact, "https://queue.example")


def record_some(folder) -> list[str]:
    """Record a stale request of each kind, and some that are not; return their ids."""
    folder.record(
        folder.submitted(1, finish_by=PAST),
        folder.submitted(2, start_by=PAST),
        folder.submitted(3, start_by=PAST),
        told(folder, 3, FactName.RUNNING, Witness.STATUS),
        folder.submitted(4, finish_by=FUTURE),
        folder.submitted(5, supersedes="k", number=1),
        told(folder, 5, FactName.CANCEL_WANTED, Witness.SWEEP, policy="superseded", by="r9"),
        folder.submitted(6, finish_by=PAST),
        *folder.lost(6),
    )
    return [folder.request_id(number) for number in range(1, 7)]


def test_each_is_listed_with_its_policy_and_since_when(folder):
    """Deadlines that passed and wishes are listed; what runs, waits for later or ended is not."""
    first, second, _, _, fifth, _ = record_some(folder)

    assert {
        first: ("finish_deadline", PAST),
        second: ("start_deadline", PAST),
        fifth: ("superseded", format_time(NOW)),
    } == listed(folder)
    assert {second} == listed(folder, "--policy", "start_deadline").keys()
    assert 1 == len(listed(folder, "--limit", "1"))


def test_a_limit_is_tried_before_it_is_set(folder):
    """With a queue limit in the environment everything that waits for longer is listed."""
    first, second, third, fourth, fifth, _ = record_some(folder)
    folder.environ["FAL_CONSUMER_CANCEL_QUEUED_AFTER"] = "1s"

    policies = {name: policy for name, (policy, _) in listed(folder).items()}

    assert "queue_wait" == policies[fourth]
    assert third not in policies
    assert {first, second, fourth, fifth} == policies.keys()


def test_people_get_a_table_and_nothing_is_changed(folder):
    """The table names the policy; looking tells no fact."""
    first, *_ = record_some(folder)
    before = folder.run("timeline", first, "--json").stdout

    shown = folder.run("stale")

    assert first in shown.stdout
    assert "finish_deadline" in shown.stdout
    assert before == folder.run("timeline", first, "--json").stdout


def test_nothing_stale_is_said_beside_the_output(folder):
    """Without anything to cancel there is no output, and a word on standard error."""
    folder.record(folder.submitted(1))

    shown = folder.run("stale")

    assert (0, "", "nothing is stale\n") == (shown.returncode, shown.stdout, shown.stderr)
