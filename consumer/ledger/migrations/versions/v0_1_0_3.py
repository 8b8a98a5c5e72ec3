"""Groups and series of requests, allowances a minute, and idempotency keys of the console."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "v0.1.0_3"
down_revision = "v0.1.0_2"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns that requests and submissions are found by, and three operational tables."""
    for table in ("requests", "submissions"):
        op.add_column(table, _text("group_key", server_default=""))
        op.add_column(table, _text("supersedes", server_default=""))
        op.add_column(table, sa.Column("number", sa.BigInteger(), nullable=True))
    in_order = {"requests": ["first_at", "request_id"], "submissions": []}
    for table, more in in_order.items():
        op.create_index(
            f"ix_{table}_group", table, ["group_key", *more], **_where("group_key <> ''")
        )
        op.create_index(
            f"ix_{table}_series", table, ["supersedes", "number"], **_where("supersedes <> ''")
        )
    _series()
    _allowances()
    _idempotency_keys()


def _text(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False, **more)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _series() -> None:
    op.create_table(
        "series",
        _text("supersedes"),
        _big("number"),
        _text("subject"),
        sa.PrimaryKeyConstraint("supersedes", "number", name="pk_series"),
        sa.CheckConstraint("supersedes <> '' AND number >= 0", name="ck_series_named"),
        sa.CheckConstraint("(number = 0) = (subject = '')", name="ck_series_numbered"),
    )
    op.create_index("ix_series_subject", "series", ["supersedes", "subject"], unique=True)


def _allowances() -> None:
    op.create_table(
        "allowances",
        _text("name"),
        _big("window_at"),
        _big("used"),
        sa.PrimaryKeyConstraint("name", name="pk_allowances"),
        sa.CheckConstraint("name <> '' AND used >= 0", name="ck_allowances_counted"),
    )


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        _text("key"),
        _text("fingerprint"),
        _big("at"),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
        sa.CheckConstraint("key <> '' AND fingerprint <> ''", name="ck_idempotency_keys_named"),
    )
    op.create_index("ix_idempotency_keys_at", "idempotency_keys", ["at"])
