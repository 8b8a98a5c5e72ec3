"""What must stand in two places stands in both."""

import ast
import re
from pathlib import Path

import pytest

import consumer
from consumer.telemetry import LOG_EVENTS

PACKAGE = Path(consumer.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path.stem for path in (PACKAGE / "core").glob("*.py") if path.stem != "__init__")
SOURCES = sorted(PACKAGE.glob("**/*.py"))

_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_EVENT = re.compile(r"[a-z]+\.[a-z_]+")


def logged_names(source: str) -> set[str]:
    """Return the event names that a module hands to a logger's method as they stand."""
    return {
        node.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LEVELS
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def texts(source: str) -> set[str]:
    """Return every text constant of a module."""
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("module", MODULES)
def test_each_core_module_has_its_test(module):
    """Each module of the core has a test file of its name."""
    assert (TESTS / "core" / f"test_{module}.py").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_logged_names_are_listed(path):
    """Each name that a module logs is in the list of log events."""
    assert logged_names(path.read_text()) - LOG_EVENTS == set()


def test_listed_names_have_their_form():
    """Each listed log event is named `noun.past_participle`."""
    assert [name for name in sorted(LOG_EVENTS) if not _EVENT.fullmatch(name)] == []


def test_names_are_found_in_calls():
    """A name is found in a logger's call, wherever the logger is kept."""
    source = 'log.info("a.b")\nself._log.warning("c.d", x=1)\nlog.info(name)\nprint("e.f")'

    assert logged_names(source) == {"a.b", "c.d"}


def test_unused_names_are_reported(record_property):
    """Names that no module writes are told in the report; the list may run ahead of the code."""
    written = set[str]().union(
        *(texts(path.read_text()) for path in SOURCES if path.stem != "telemetry")
    )

    unused = sorted(LOG_EVENTS - written)

    record_property("unused_log_events", ", ".join(unused))
    assert set(unused) < LOG_EVENTS
