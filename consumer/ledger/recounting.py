"""
Letting count what did not: an account became ours after its deliveries came.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, select, text, update

from consumer.core.text import storable
from consumer.ledger.derived import (
    among,
    fold_requests,
    fold_submissions,
    write_requests,
    write_submissions,
)
from consumer.ledger.schedules import keep_schedules
from consumer.ledger.tables import UNPROVEN, deliveries, facts
from consumer.ports import Planner

MAX_REQUESTS = 200
# Derived anew in one transaction; between two of them other writers have their turn.

_ACCOUNTS: BindParameter[Any] = bindparam("accounts", expanding=True)
_UNPROVEN = (
    select(facts.c.request_id)
    .where(text(UNPROVEN), facts.c.account.in_(_ACCOUNTS), facts.c.request_id != "")
    .distinct()
    .order_by(facts.c.request_id)
    .limit(MAX_REQUESTS)
)
_SUBMISSIONS = (
    select(facts.c.submission_id)
    .where(
        text(UNPROVEN),
        facts.c.account.in_(_ACCOUNTS),
        among(facts.c.request_id),
        facts.c.submission_id != "",
    )
    .distinct()
)
_PROVE_FACTS = (
    update(facts)
    .where(text(UNPROVEN), facts.c.account.in_(_ACCOUNTS), among(facts.c.request_id))
    .values(counts=True)
)
_PROVE_DELIVERIES = (
    update(deliveries)
    .where(text(UNPROVEN), deliveries.c.user_id.in_(_ACCOUNTS))
    .values(counts=True)
)


def recount_some(
    connection: Connection, accounts: Sequence[str], *, plan: Planner, now: datetime
) -> int:
    """
    Let facts and deliveries of these accounts count, for some requests, and derive those anew.

    Returns how many requests it changed; 0 when none is left. Stopped in between, the next
    call goes on: what counts already is not looked at.
    """
    of_accounts = {"accounts": [storable(account) for account in accounts]}
    names = [row.request_id for row in connection.execute(_UNPROVEN, of_accounts)]
    if not names:
        connection.execute(_PROVE_DELIVERIES, of_accounts)
        return 0
    chosen = of_accounts | {"wanted": names}
    bound = [row.submission_id for row in connection.execute(_SUBMISSIONS, chosen)]
    connection.execute(_PROVE_FACTS, chosen)
    requests = fold_requests(connection, names)
    write_requests(connection, list(requests.values()))
    write_submissions(connection, list(fold_submissions(connection, bound).values()))
    keep_schedules(connection, {name: plan(item, now) for name, item in requests.items()}, now)
    return len(names)
