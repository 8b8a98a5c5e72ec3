"""The first schema: the projection, and the operational tables beside it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "v0.1.0_1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    _facts()
    _requests()
    _submissions()
    _evidence_bodies()
    _deliveries()
    _results()
    _key_sets()
    _dead_letters()
    _schedules()
    _parked()
    _claims()
    _stamps()


_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _TEXT, nullable=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _boolean(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _facts() -> None:
    op.create_table(
        "facts",
        _text("id"),
        _text("event_id"),
        _text("request_id"),
        _text("submission_id"),
        _text("name"),
        _text("witness"),
        _big("at"),
        _boolean("signed"),
        _text("account"),
        _boolean("counts"),
        _text("detail"),
        sa.CheckConstraint("name <> '' AND witness <> ''", name=op.f("ck_facts_named")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_facts")),
    )
    op.create_index("ix_facts_request", "facts", ["request_id", "at"])
    op.create_index(
        "ix_facts_submission", "facts", ["submission_id", "at"], **_where("submission_id <> ''")
    )
    op.create_index("ix_facts_unproven", "facts", ["account", "request_id"], **_where("NOT counts"))


def _requests() -> None:
    op.create_table(
        "requests",
        _text("request_id"),
        _text("standing"),
        _text("state"),
        _text("endpoint"),
        _text("submission_id"),
        _boolean("is_open"),
        _boolean("is_tracked"),
        _boolean("has_conflict"),
        _big("first_at"),
        _big("last_at"),
        sa.Column("result_revision", sa.BigInteger(), nullable=True),
        sa.Column("result_outcome", _TEXT, nullable=True),
        sa.Column("result_witness", _TEXT, nullable=True),
        sa.Column("billable_units", _TEXT, nullable=True),
        sa.CheckConstraint("request_id <> ''", name=op.f("ck_requests_named")),
        sa.CheckConstraint(
            "state IN ('seen', 'submitted', 'queued', 'running', 'cancelling',"
            " 'lost', 'cancelled', 'failed', 'succeeded')",
            name=op.f("ck_requests_state_known"),
        ),
        sa.CheckConstraint("last_at >= first_at", name=op.f("ck_requests_in_order")),
        sa.CheckConstraint(
            "result_revision IS NULL OR result_revision >= 1",
            name=op.f("ck_requests_revision_from_one"),
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
    )
    op.create_index("ix_requests_conflict", "requests", ["request_id"], **_where("has_conflict"))
    op.create_index("ix_requests_endpoint", "requests", ["endpoint", "first_at", "request_id"])
    op.create_index("ix_requests_first", "requests", ["first_at", "request_id"])
    op.create_index("ix_requests_open", "requests", ["first_at", "request_id"], **_where("is_open"))
    op.create_index("ix_requests_state", "requests", ["state", "first_at", "request_id"])
    op.create_index(
        "ix_requests_submission",
        "requests",
        ["submission_id", "first_at", "request_id"],
        **_where("submission_id <> ''"),
    )


def _submissions() -> None:
    op.create_table(
        "submissions",
        _text("submission_id"),
        _text("standing"),
        _text("state"),
        _text("request_id"),
        _text("endpoint"),
        _text("command_id"),
        _big("first_at"),
        _big("last_at"),
        sa.Column("result_revision", sa.BigInteger(), nullable=True),
        sa.Column("result_outcome", _TEXT, nullable=True),
        sa.CheckConstraint(
            "state IN ('intended', 'sending', 'unknown',"
            " 'lost', 'cancelled', 'refused', 'submitted')",
            name=op.f("ck_submissions_state_known"),
        ),
        sa.CheckConstraint("submission_id <> ''", name=op.f("ck_submissions_named")),
        sa.CheckConstraint("last_at >= first_at", name=op.f("ck_submissions_in_order")),
        sa.CheckConstraint(
            "result_revision IS NULL OR result_revision >= 1",
            name=op.f("ck_submissions_revision_from_one"),
        ),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_submissions")),
    )
    op.create_index("ix_submissions_first", "submissions", ["first_at", "submission_id"])
    op.create_index("ix_submissions_state", "submissions", ["state", "first_at"])


def _evidence_bodies() -> None:
    op.create_table(
        "evidence_bodies",
        _text("sha256"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_evidence_bodies_hashed")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_evidence_bodies")),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        _text("id"),
        _text("request_id"),
        _text("user_id"),
        _text("timestamp"),
        _text("signature"),
        _text("key"),
        _text("kid"),
        _text("source"),
        _big("received_at"),
        _text("body_sha256"),
        _boolean("counts"),
        sa.CheckConstraint(
            "request_id <> '' AND signature <> ''", name=op.f("ck_deliveries_signed")
        ),
        sa.ForeignKeyConstraint(
            ["body_sha256"], ["evidence_bodies.sha256"], name=op.f("fk_deliveries_body_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_request", "deliveries", ["request_id", "received_at"])
    op.create_index("ix_deliveries_unproven", "deliveries", ["user_id"], **_where("NOT counts"))


def _results() -> None:
    op.create_table(
        "results",
        _text("subject"),
        _big("revision"),
        _text("event_id"),
        _text("request_id"),
        _text("submission_id"),
        _big("at"),
        _text("published"),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("subject <> ''", name=op.f("ck_results_named")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_results_revision_from_one")),
        sa.PrimaryKeyConstraint("subject", "revision", name=op.f("pk_results")),
    )


def _key_sets() -> None:
    op.create_table(
        "key_sets",
        _text("url"),
        _text("sha256"),
        _big("fetched_at"),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("url", "sha256", name=op.f("pk_key_sets")),
    )


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        _text("id"),
        _text("key"),
        _text("reason"),
        _text("origin"),
        _big("at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_at", "dead_letters", ["at"])


def _schedules() -> None:
    op.create_table(
        "schedules",
        _text("schedule"),
        _text("subject"),
        _big("planned_at"),
        _big("due_at"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _big("lease_until"),
        _big("fence"),
        sa.CheckConstraint("schedule <> '' AND subject <> ''", name=op.f("ck_schedules_named")),
        sa.CheckConstraint(
            "attempt >= 1 AND fence >= 0 AND lease_until >= 0", name=op.f("ck_schedules_counted")
        ),
        sa.PrimaryKeyConstraint("schedule", "subject", name=op.f("pk_schedules")),
    )
    op.create_index("ix_schedules_due", "schedules", ["schedule", "due_at"])


def _parked() -> None:
    op.create_table(
        "parked",
        _text("id"),
        _text("handler_group"),
        _text("topic"),
        sa.Column("partition", sa.Integer(), nullable=False),
        _big("offset"),
        sa.Column("record_key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        _big("appended_at"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _text("reason"),
        _big("parked_at"),
        _big("due_at"),
        sa.CheckConstraint('"partition" >= 0 AND "offset" >= 0', name=op.f("ck_parked_positioned")),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_parked_counted")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parked")),
    )
    op.create_index("ix_parked_due", "parked", ["handler_group", "due_at"])


def _claims() -> None:
    op.create_table(
        "claims",
        _text("kind"),
        _text("key"),
        _big("revision"),
        _text("fingerprint"),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        _big("claimed_at"),
        _big("deadline_at"),
        sa.Column("event_topic", _TEXT, nullable=True),
        sa.Column("event_key", sa.LargeBinary(), nullable=True),
        sa.Column("event_value", sa.LargeBinary(), nullable=True),
        sa.Column("event_headers", sa.LargeBinary(), nullable=True),
        _boolean("is_published"),
        sa.CheckConstraint("key <> '' AND revision >= 1", name=op.f("ck_claims_named")),
        sa.CheckConstraint("kind IN ('submission', 'result')", name=op.f("ck_claims_kind_known")),
        sa.CheckConstraint(
            "(event_topic IS NULL) = (event_value IS NULL)"
            " AND (event_topic IS NULL) = (event_key IS NULL)"
            " AND (event_topic IS NULL) = (event_headers IS NULL)",
            name=op.f("ck_claims_event_whole"),
        ),
        sa.CheckConstraint(
            "NOT is_published OR event_topic IS NOT NULL",
            name=op.f("ck_claims_published_has_event"),
        ),
        sa.PrimaryKeyConstraint("kind", "key", "revision", name=op.f("pk_claims")),
    )
    op.create_index(
        "ix_claims_open", "claims", ["kind", "claimed_at"], **_where("NOT is_published")
    )


def _stamps() -> None:
    op.create_table(
        "stamps",
        _text("kind"),
        _big("at"),
        sa.PrimaryKeyConstraint("kind", "at", name=op.f("pk_stamps")),
    )
