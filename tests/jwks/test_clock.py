"""How far our clock is off."""

from datetime import UTC, datetime, timedelta

from consumer.jwks.clock import ClockCheck
from consumer.testing.receiving import Lines

NOW = datetime(2026, 7, 16, tzinfo=UTC)


def test_an_answer_without_a_time_changes_nothing():
    """What was measured last stands until something else is measured."""
    check = ClockCheck(lambda: NOW, Lines())

    check.compare(None)
    assert (None, []) == (check.error, check.problems())
    check.compare(NOW - timedelta(seconds=90))
    check.compare(None)

    assert timedelta(seconds=90) == check.error
    assert ["this machine's clock is 90 s ahead of the key server's"] == check.problems()
