"""What every test may ask for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.kafka_fixtures", "tests.postgres_fixtures"]


def _require(name: str, missing: str) -> None:
    """Skip with what is missing, or fail where CONSUMER_TEST_REQUIRE names it."""
    required = os.environ.get("CONSUMER_TEST_REQUIRE", "").split(",")
    if name in required:
        pytest.fail(f"CONSUMER_TEST_REQUIRE names {name}: {missing}")
    pytest.skip(missing)


@pytest.fixture(scope="session")
def require() -> Callable[[str, str], None]:
    """Skip for want of a named thing, or fail where it is required: `require(name, missing)`."""
    return _require


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of recorded real deliveries, beside the repository."""
    folder = ROOT.parent / "shared" / "samples"
    if not folder.is_dir():
        _require("samples", f"no recorded deliveries in {folder}")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the numbers that tests measured, wherever they ran."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    numbers = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "numbers"
    ]
    if numbers:
        terminalreporter.section("numbers")
        for line in numbers:
            terminalreporter.write_line(str(line))
