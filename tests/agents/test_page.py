"""docs/agents.md says what the tools are."""

import json
import re
from pathlib import Path

from tests.agents.test_tools import CHANGING, READING

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


async def test_the_table_names_each_tool_with_its_marks(agent):
    """Each tool has a row, and its marks are those that are listed."""
    rows = dict(re.findall(r"^\| `(FAL_AI_\w+)` \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE))

    assert CHANGING | READING == set(rows)
    for name, tool in (await agent.listed()).items():
        assert tool.annotations.read_only_hint == ("read-only" in rows[name])
        assert tool.annotations.destructive_hint == ("destructive" in rows[name])
        assert tool.annotations.idempotent_hint == ("not idempotent" not in rows[name])


def test_examples_of_configuration_are_json():
    """Each example that is to be copied can be read."""
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]

    assert 2 == len(examples)
    assert all(example["mcpServers"]["fal"] for example in examples)
