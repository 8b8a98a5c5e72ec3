"""The pages say what is there: settings, log events, metrics, tests and files by their names."""

import ast
import re
from pathlib import Path

import pytest

import consumer
from consumer.settings import Settings
from consumer.telemetry import LOG_EVENTS, Metrics

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(Path(consumer.__file__).parent.glob("**/*.py"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *DECISIONS,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")),
]

_QUIET = {"debug", "info"}
_ROW = re.compile(r"^\| `([^|]*?)` \|(.*)\|$", re.MULTILINE)
_NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_NAMED_PATH = re.compile(r"`((?:consumer|tests|docs|drills|benchmarks|examples)/[\w./-]*)`")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """Return every name that stands in code in the first cell of a table's row."""
    rows = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def loud_events(source: str) -> set[str]:
    """
    Return the log events of a module but those that it only ever writes at a quiet level.

    A name that reaches the logger through a variable may be written at any level.
    """
    tree, quiet = ast.parse(source), set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=level), args=[ast.Constant() as name, *_]):
                quiet |= {id(name)} if level in _QUIET else set()
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and id(node) not in quiet and node.value in LOG_EVENTS
    }


def metric_names() -> set[str]:
    """Return every metric by the name that a scraper sees."""
    families = Metrics().registry.collect()
    return {f"{one.name}_total" if one.type == "counter" else one.name for one in families}


def defined_in(path: Path) -> set[str]:
    """Return the functions and classes that a test file defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def test_settings_have_their_rows_and_defaults():
    """Each setting has a row in docs/settings.md, with the default that the code has."""
    told = {}
    for names, cells in _ROW.findall(page("settings.md")):
        default = cells.replace(r"\|", "").split("|")[1].strip().strip("`")
        told |= dict.fromkeys(names.split("`, `"), "" if default == "none" else default)

    expected = {row.name: row.value for row in Settings().describe()}

    assert expected == {name: told.get(name, "no row") for name in expected}


def test_no_setting_is_told_that_does_not_exist():
    """Each FAL_CONSUMER_… name on a page is a setting, or one of the few names beside them."""
    known = {row.name for row in Settings().describe()}
    known |= {"FAL_CONSUMER_CONFIG", "FAL_CONSUMER_SERVICE_HOST", "FAL_CONSUMER_PORT"}

    for path in PAGES:
        named = re.findall(r"FAL_CONSUMER_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
        assert set() == set(named) - known, path.name


def test_every_warning_and_error_says_what_to_do():
    """Each log event that may be a warning or an error has a row in docs/operations.md."""
    loud = set().union(
        *(loud_events(path.read_text()) for path in SOURCES if path.stem != "telemetry")
    )

    told = first_cells(page("operations.md")) | set(re.findall(r"`(\w+\.\w+)`", _for_information()))

    assert set() == loud - told


def test_no_log_event_is_told_that_does_not_exist():
    """Each name in the form of a log event in docs/operations.md is in the list."""
    tables = page("operations.md").partition("## Log lines")[2].partition("### Reasons")[0]
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", tables))

    assert set() == named - LOG_EVENTS - {"consumer.subscribe", "fal.results"}


def test_metrics_have_their_rows():
    """docs/operations.md has a row for each metric, and for none that does not exist."""
    told = {name for name in first_cells(page("operations.md")) if name.startswith("fal_consumer_")}

    assert metric_names() == told


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_names_exists(path):
    """Each test, file and page that a page names is there."""
    text = path.read_text(encoding="utf-8")
    tests = [
        f"{file}::{name}"
        for file, name in _NAMED_TEST.findall(text)
        if not (ROOT / file).is_file() or name not in defined_in(ROOT / file)
    ]
    paths = [name for name in _NAMED_PATH.findall(text) if not (ROOT / name).exists()]
    links = [name for name in _LINK.findall(text) if not (path.parent / name).exists()]

    assert ([], [], []) == (tests, paths, links)


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decisions_have_their_parts(path):
    """Each decision has its number, a status, and the three parts, in this order."""
    lines = path.read_text(encoding="utf-8").splitlines()

    assert lines[0].startswith(f"# {path.stem[:4]}. ")
    assert lines[2].startswith("Status: ")
    assert ["## Context", "## Decision", "## Consequences"] == [
        line for line in lines if line.startswith("## ")
    ]


def test_each_decision_has_a_number_of_its_own():
    """No number of a decision is there twice; gaps are left where work goes on side by side."""
    numbers = [path.stem[:4] for path in DECISIONS]
    assert sorted(set(numbers)) == sorted(numbers)


def test_loud_events_are_told_from_quiet_ones():
    """A direct call at a quiet level is left out; a name on its way through a variable is not."""
    source = (
        '_log.info("keys.refreshed")\n_log.error("clock.wrong")\n'
        'tell("account.refused")\nself._log.debug("record.handled", x="y")\n'
    )

    assert {"clock.wrong", "account.refused"} == loud_events(source)


def _for_information() -> str:
    return page("operations.md").partition("### For information")[2].partition("\n###")[0]
