"""The law of the core's folder: functions of their arguments, held by reading every file."""

import ast
from pathlib import Path

import pytest

import consumer.core

FILES = sorted(Path(consumer.core.__file__).parent.glob("**/*.py"))
ALLOWED = {
    "base64",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "hashlib",
    "hmac",
    "json",
    "re",
    "types",
    "typing",
    "uuid",
    "jwt",
    "nacl",
    "pydantic",
    "pydantic_core",
}
FORBIDDEN_ATTRIBUTES = {"now", "utcnow", "today", "environ", "getenv", "uuid1", "uuid4"}
FORBIDDEN_CALLS = {"open", "print", "input", "eval", "exec", "uuid1", "uuid4", "__import__"}


def offences(source: str) -> list[str]:
    """Return what in a module's source breaks the law, in the order of the source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                found.append("async")
            case ast.comprehension(is_async=1):
                found.append("async")
            case ast.Import(names=names):
                found += [name.name for name in names if not _is_allowed(name.name)]
            case ast.ImportFrom(module=module):
                found += [] if _is_allowed(module or "") else [module or "."]
            case ast.Attribute(attr=name) if name in FORBIDDEN_ATTRIBUTES:
                found.append(name)
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                found.append(name)
            case ast.Call(func=ast.Attribute(attr="astimezone"), args=[]):
                found.append("astimezone()")  # it asks for the machine's zone
    return found


def _is_allowed(module: str) -> bool:
    ours = module == "consumer.errors" or module.startswith("consumer.core.")
    return ours or module.split(".", maxsplit=1)[0] in ALLOWED


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_core_is_pure(file):
    """No module of the core awaits, asks a clock or the environment, or imports what does."""
    assert offences(file.read_text()) == []


@pytest.mark.parametrize(
    "source, found",
    [
        ("import asyncio", ["asyncio"]),
        ("import os.path", ["os.path"]),
        ("from time import time", ["time"]),
        ("from random import random", ["random"]),
        ("import structlog", ["structlog"]),
        ("from consumer.ports import Log", ["consumer.ports"]),
        ("from . import text", ["."]),
        ("async def f(): ...", ["async"]),
        ("async def f():\n await g()", ["async", "async"]),
        ("async def f():\n return [a async for a in b]", ["async", "async"]),
        ("datetime.now(UTC)", ["now"]),
        ("datetime.utcnow()", ["utcnow"]),
        ("date.today()", ["today"]),
        ("os.environ['A']", ["environ"]),
        ("instant.astimezone()", ["astimezone()"]),
        ("open('a')", ["open"]),
        ("def f(now): return now", []),
        ("import re", []),
    ],
)
def test_offences_are_found(source, found):
    """What breaks the law is found in a module that does it."""
    assert offences(source) == found


def test_every_file_is_read():
    """The folder is found, so that the test cannot pass by reading nothing."""
    assert len(FILES) >= 17
