"""Indexes for lists and bodies; on PostgreSQL facts and evidence are partitioned by month."""

import sqlalchemy as sa
from alembic import op

revision = "v0.1.0_2"
down_revision = "v0.1.0_1"
branch_labels = None
depends_on = None

_FIRST = "SELECT min(received_at) FROM deliveries WHERE body_sha256 = evidence_bodies.sha256"
_KEPT_AT = f"coalesce(({_FIRST}), 0)"


def upgrade() -> None:
    """Add the indexes; where tables can have partitions, put their rows into such ones."""
    if op.get_bind().dialect.name == "postgresql":
        _partition("evidence_bodies", "kept_at", ", kept_at BIGINT NOT NULL", f", {_KEPT_AT}")
        _partition("deliveries", "received_at")
        op.execute("DROP TABLE deliveries_old")
        op.execute("DROP TABLE evidence_bodies_old")
        _partition("facts", "at")
        op.execute("DROP TABLE facts_old")
        _keys_and_indexes()
    op.create_index("ix_deliveries_body", "deliveries", ["body_sha256"])
    columns = ["endpoint", "state", "first_at", "request_id"]
    op.create_index("ix_requests_endpoint_state", "requests", columns)
    op.drop_index("ix_schedules_due", "schedules")
    op.create_index("ix_schedules_due", "schedules", ["schedule", "due_at", "subject"])


def _partition(table: str, column: str, more: str = "", value: str = "") -> None:
    op.execute(
        f"CREATE TABLE {table}_new (LIKE {table} INCLUDING CONSTRAINTS{more})"
        f" PARTITION BY RANGE ({column})"
    )
    # Rows of months that have no partition, because a clock stood wrong.
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table}_new DEFAULT")
    op.execute(f"INSERT INTO {table}_new SELECT {table}.*{value} FROM {table}")  # noqa: S608  names of ours
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_old")
    op.execute(f"ALTER TABLE {table}_new RENAME TO {table}")


def _keys_and_indexes() -> None:
    op.create_primary_key("pk_evidence_bodies", "evidence_bodies", ["sha256", "kept_at"])
    op.create_primary_key("pk_deliveries", "deliveries", ["id", "received_at"])
    op.create_primary_key("pk_facts", "facts", ["id", "at"])
    op.create_index("ix_deliveries_request", "deliveries", ["request_id", "received_at"])
    op.create_index(
        "ix_deliveries_unproven", "deliveries", ["user_id"], postgresql_where=sa.text("NOT counts")
    )
    op.create_index("ix_facts_request", "facts", ["request_id", "at"])
    op.create_index(
        "ix_facts_submission",
        "facts",
        ["submission_id", "at"],
        postgresql_where=sa.text("submission_id <> ''"),
    )
    op.create_index(
        "ix_facts_unproven",
        "facts",
        ["account", "request_id"],
        postgresql_where=sa.text("NOT counts"),
    )
