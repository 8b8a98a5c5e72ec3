"""
Claims: an effect that must be unique has its row before it happens, and its event until it is out.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, text, update

from consumer.core.event import NewRecord
from consumer.core.text import storable
from consumer.ledger.engine import insert_new
from consumer.ledger.operational_rows import claim_of, claim_row, detail_bytes, event_columns
from consumer.ledger.rows import Row, micros
from consumer.ledger.tables import UNPUBLISHED, claims
from consumer.ports import Claim, ClaimKind

_columns = claims.c
_OF_ROW = and_(
    _columns.kind == bindparam("of_kind"),
    _columns.key == bindparam("of_key"),
    _columns.revision == bindparam("of_revision"),
)
_STANDING = select(claims).where(_OF_ROW)
_LATEST = (
    select(claims)
    .where(_columns.kind == bindparam("of_kind"), _columns.key == bindparam("of_key"))
    .order_by(_columns.revision.desc())
    .limit(1)
)
_EVENT = ("event_topic", "event_key", "event_value", "event_headers")
_SETTLE = (
    update(claims)
    .where(_OF_ROW, _columns.event_topic.is_(None))
    .values(detail=bindparam("new_detail"), **{name: bindparam(f"new_{name}") for name in _EVENT})
)
_MARK = update(claims).where(_OF_ROW, _columns.event_topic.is_not(None)).values(is_published=True)
_OPEN = (
    select(claims)
    .where(
        _columns.kind == bindparam("of_kind"),
        text(UNPUBLISHED),
        or_(_columns.event_topic.is_not(None), _columns.deadline_at <= bindparam("now")),
    )
    .order_by(_columns.claimed_at, _columns.key, _columns.revision)
    .limit(bindparam("at_most"))
)


def claim(connection: Connection, wanted: Row) -> Claim:
    """Insert the claim's row unless its place is taken; return the claim that stands."""
    connection.execute(insert_new(connection.dialect.name, claims), wanted)
    place = {f"of_{name}": wanted[name] for name in ("kind", "key", "revision")}
    return claim_of(connection.execute(_STANDING, place).one())


def latest_claim(connection: Connection, kind: ClaimKind, key: str) -> Claim | None:
    """Return the claim with the highest revision."""
    wanted = {"of_kind": kind.value, "of_key": storable(key)}
    row = connection.execute(_LATEST, wanted).one_or_none()
    return None if row is None else claim_of(row)


def settled(claim: Claim, event: NewRecord, detail: Mapping[str, Any]) -> Row:
    """Return what `settle` writes. Raises UndecodableEvent when `detail` is no JSON."""
    new = event_columns(event) | {"detail": detail_bytes(detail)}
    return _place(claim) | {f"new_{name}": value for name, value in new.items()}


def settle(connection: Connection, row: Row) -> None:
    """Keep the event that the effect ended in; the first one stands."""
    connection.execute(_SETTLE, row)


def mark_published(connection: Connection, claim: Claim) -> None:
    """Remember that the claim's event is out; a claim without an event stays as it is."""
    connection.execute(_MARK, _place(claim))


def open_claims(
    connection: Connection, kind: ClaimKind, limit: int, now: datetime
) -> Sequence[Claim]:
    """Return claims with an unpublished event, or overdue without one; oldest first."""
    wanted = {"of_kind": kind.value, "now": micros(now), "at_most": max(limit, 0)}
    return [claim_of(row) for row in connection.execute(_OPEN, wanted)]


def _place(claim: Claim) -> Row:
    return {
        "of_kind": claim.kind.value,
        "of_key": storable(claim.key),
        "of_revision": claim.revision,
    }


__all__ = [
    "claim",
    "claim_row",
    "latest_claim",
    "mark_published",
    "open_claims",
    "settle",
    "settled",
]
