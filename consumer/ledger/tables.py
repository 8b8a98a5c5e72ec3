"""
The ledger's tables, in types that every database has.

Two families that must not be mixed. The projection comes from events alone, so that a
replay rebuilds it. The operational tables (schedules, parked, claims, stamps) are ours
and survive a rebuild. Instants are microseconds since 1970 in UTC, numbers out of
payloads are never columns, and what must come back byte for byte is binary.

On PostgreSQL facts, deliveries and evidence_bodies are partitioned by month (`partitions`):
their keys there hold the time as well, a body has `kept_at`, and nothing refers to them. That
an id is there once is held by looking, while the writers' turn is one's own.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from consumer.core.standing import State, SubmissionState

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

HAS_SUBMISSION = "submission_id <> ''"
UNPROVEN = "NOT counts"
IS_OPEN = "is_open"
HAS_CONFLICT = "has_conflict"
HAS_GROUP = "group_key <> ''"
HAS_SERIES = "supersedes <> ''"
UNPUBLISHED = "NOT is_published"
# Conditions of partial indices. A query uses the index only where it says the very same
# words, which an expression does not (`is_open = 1` on one database, `is_open` on the other).


_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
# Ordered by bytes, as on SQLite, whatever language the database sorts by.


def _text(name: str, **more: Any) -> Column[str]:
    return Column(name, _TEXT, nullable=False, **more)


def _added_text(name: str) -> Column[str]:
    """Return a column that came later: rows that were there before have none of it."""
    return _text(name, server_default="")


def _maybe_text(name: str) -> Column[str]:
    return Column(name, _TEXT, nullable=True)


def _instant(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _claim_of(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _bytes(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


def _one_of(column: str, words: Any) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _where(condition: str) -> dict[str, Any]:
    """Return the options of a partial index, in the words of either database."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# ---------------------------------------------------------------- the projection

facts = Table(
    "facts",
    metadata,
    _text("id", primary_key=True),
    _text("event_id"),
    _text("request_id"),
    _text("submission_id"),
    _text("name"),
    _text("witness"),
    _instant("at"),
    _claim_of("signed"),
    _text("account"),
    _claim_of("counts"),
    _text("detail"),
    CheckConstraint("name <> '' AND witness <> ''", name="named"),
    Index("ix_facts_request", "request_id", "at"),
    Index("ix_facts_submission", "submission_id", "at", **_where(HAS_SUBMISSION)),
    Index("ix_facts_unproven", "account", "request_id", **_where(UNPROVEN)),
)

requests = Table(
    "requests",
    metadata,
    _text("request_id", primary_key=True),
    _text("standing"),
    _text("state"),
    _text("endpoint"),
    _text("submission_id"),
    _claim_of("is_open"),
    _claim_of("is_tracked"),
    _claim_of("has_conflict"),
    _instant("first_at"),
    _instant("last_at"),
    Column("result_revision", BigInteger, nullable=True),
    _maybe_text("result_outcome"),
    _maybe_text("result_witness"),
    _maybe_text("billable_units"),
    _added_text("group_key"),
    _added_text("supersedes"),
    Column("number", BigInteger, nullable=True),
    CheckConstraint("request_id <> ''", name="named"),
    CheckConstraint("last_at >= first_at", name="in_order"),
    CheckConstraint("result_revision IS NULL OR result_revision >= 1", name="revision_from_one"),
    _one_of("state", State),
    Index("ix_requests_first", "first_at", "request_id"),
    Index("ix_requests_state", "state", "first_at", "request_id"),
    Index("ix_requests_endpoint", "endpoint", "first_at", "request_id"),
    Index("ix_requests_endpoint_state", "endpoint", "state", "first_at", "request_id"),
    Index(
        "ix_requests_submission",
        "submission_id",
        "first_at",
        "request_id",
        **_where(HAS_SUBMISSION),
    ),
    Index("ix_requests_open", "first_at", "request_id", **_where(IS_OPEN)),
    Index("ix_requests_conflict", "request_id", **_where(HAS_CONFLICT)),
    Index("ix_requests_group", "group_key", "first_at", "request_id", **_where(HAS_GROUP)),
    Index("ix_requests_series", "supersedes", "number", **_where(HAS_SERIES)),
)

submissions = Table(
    "submissions",
    metadata,
    _text("submission_id", primary_key=True),
    _text("standing"),
    _text("state"),
    _text("request_id"),
    _text("endpoint"),
    _text("command_id"),
    _instant("first_at"),
    _instant("last_at"),
    Column("result_revision", BigInteger, nullable=True),
    _maybe_text("result_outcome"),
    _added_text("group_key"),
    _added_text("supersedes"),
    Column("number", BigInteger, nullable=True),
    CheckConstraint("submission_id <> ''", name="named"),
    CheckConstraint("last_at >= first_at", name="in_order"),
    CheckConstraint("result_revision IS NULL OR result_revision >= 1", name="revision_from_one"),
    _one_of("state", SubmissionState),
    Index("ix_submissions_first", "first_at", "submission_id"),
    Index("ix_submissions_state", "state", "first_at"),
    Index("ix_submissions_group", "group_key", **_where(HAS_GROUP)),
    Index("ix_submissions_series", "supersedes", "number", **_where(HAS_SERIES)),
)

evidence_bodies = Table(
    "evidence_bodies",
    metadata,
    _text("sha256", primary_key=True),
    _bytes("body"),
    CheckConstraint("length(sha256) = 64", name="hashed"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _text("id", primary_key=True),
    _text("request_id"),
    _text("user_id"),
    _text("timestamp"),
    _text("signature"),
    _text("key"),
    _text("kid"),
    _text("source"),
    _instant("received_at"),
    Column("body_sha256", _TEXT, ForeignKey("evidence_bodies.sha256"), nullable=False),
    _claim_of("counts"),
    CheckConstraint("request_id <> '' AND signature <> ''", name="signed"),
    Index("ix_deliveries_request", "request_id", "received_at"),
    Index("ix_deliveries_body", "body_sha256"),
    Index("ix_deliveries_unproven", "user_id", **_where(UNPROVEN)),
)

results = Table(
    "results",
    metadata,
    _text("subject"),
    Column("revision", BigInteger, nullable=False),
    _text("event_id"),
    _text("request_id"),
    _text("submission_id"),
    _instant("at"),
    _text("published"),
    _bytes("value"),
    PrimaryKeyConstraint("subject", "revision"),
    CheckConstraint("subject <> ''", name="named"),
    CheckConstraint("revision >= 1", name="revision_from_one"),
)

key_sets = Table(
    "key_sets",
    metadata,
    _text("url"),
    _text("sha256"),
    _instant("fetched_at"),
    _bytes("document"),
    PrimaryKeyConstraint("url", "sha256"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    _text("id", primary_key=True),
    _text("key"),
    _text("reason"),
    _text("origin"),
    _instant("at"),
    Index("ix_dead_letters_at", "at"),
)

# ---------------------------------------------------------------- operational

schedules = Table(
    "schedules",
    metadata,
    _text("schedule"),
    _text("subject"),
    _instant("planned_at"),
    _instant("due_at"),
    Column("attempt", Integer, nullable=False),
    _instant("lease_until"),
    Column("fence", BigInteger, nullable=False),
    PrimaryKeyConstraint("schedule", "subject"),
    CheckConstraint("schedule <> '' AND subject <> ''", name="named"),
    CheckConstraint("attempt >= 1 AND fence >= 0 AND lease_until >= 0", name="counted"),
    Index("ix_schedules_due", "schedule", "due_at", "subject"),
)

parked = Table(
    "parked",
    metadata,
    _text("id", primary_key=True),
    _text("handler_group"),
    _text("topic"),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    _bytes("record_key"),
    _bytes("value"),
    _bytes("headers"),
    _instant("appended_at"),
    Column("attempt", Integer, nullable=False),
    _text("reason"),
    _instant("parked_at"),
    _instant("due_at"),
    CheckConstraint('"partition" >= 0 AND "offset" >= 0', name="positioned"),
    CheckConstraint("attempt >= 1", name="counted"),
    Index("ix_parked_due", "handler_group", "due_at"),
)

claims = Table(
    "claims",
    metadata,
    _text("kind"),
    _text("key"),
    Column("revision", BigInteger, nullable=False),
    _text("fingerprint"),
    _bytes("detail"),
    _instant("claimed_at"),
    _instant("deadline_at"),
    _maybe_text("event_topic"),
    _bytes("event_key", nullable=True),
    _bytes("event_value", nullable=True),
    _bytes("event_headers", nullable=True),
    _claim_of("is_published"),
    PrimaryKeyConstraint("kind", "key", "revision"),
    CheckConstraint("key <> '' AND revision >= 1", name="named"),
    CheckConstraint("kind IN ('submission', 'result')", name="kind_known"),
    CheckConstraint("NOT is_published OR event_topic IS NOT NULL", name="published_has_event"),
    CheckConstraint(
        "(event_topic IS NULL) = (event_value IS NULL)"
        " AND (event_topic IS NULL) = (event_key IS NULL)"
        " AND (event_topic IS NULL) = (event_headers IS NULL)",
        name="event_whole",
    ),
    Index("ix_claims_open", "kind", "claimed_at", **_where(UNPUBLISHED)),
)

series = Table(
    "series",
    metadata,
    _text("supersedes"),
    Column("number", BigInteger, nullable=False),
    _text("subject"),
    PrimaryKeyConstraint("supersedes", "number"),
    CheckConstraint("supersedes <> '' AND number >= 0", name="named"),
    # Row 0 of a key is its lock, and names nobody.
    CheckConstraint("(number = 0) = (subject = '')", name="numbered"),
    Index("ix_series_subject", "supersedes", "subject", unique=True),
)

allowances = Table(
    "allowances",
    metadata,
    _text("name", primary_key=True),
    _instant("window_at"),
    Column("used", BigInteger, nullable=False),
    CheckConstraint("name <> '' AND used >= 0", name="counted"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _text("key", primary_key=True),
    _text("fingerprint"),
    _instant("at"),
    CheckConstraint("key <> '' AND fingerprint <> ''", name="named"),
    Index("ix_idempotency_keys_at", "at"),
)

stamps = Table(
    "stamps",
    metadata,
    _text("kind"),
    _instant("at"),
    PrimaryKeyConstraint("kind", "at"),
)

PROJECTION = (
    facts,
    requests,
    submissions,
    evidence_bodies,
    deliveries,
    results,
    key_sets,
    dead_letters,
)
"""What a replay of the log makes again; those that others refer to come first."""

OPERATIONAL = (schedules, parked, claims, series, allowances, idempotency_keys, stamps)
"""What is the ledger's own."""
