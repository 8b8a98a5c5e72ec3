"""`requests`: rows for people and for programs."""

import json


def listed(folder, *arguments: str) -> list[str]:
    shown = folder.run("requests", "--json", *arguments)
    assert (shown.returncode, shown.stderr) == (0, "")
    return sorted(json.loads(line)["request_id"] for line in shown.stdout.splitlines())


def test_programs_get_a_json_line_for_each(folder):
    """A row says where the request stands, who told its end, and what it cost."""
    folder.record(folder.submitted(1), *folder.lost(1))

    row = json.loads(folder.run("requests", "--json").stdout)

    assert folder.request_id(1) == row["request_id"]
    assert ("lost", False, "sweep", "fal-ai/flux/dev", "job-1", 1) == (
        row["state"],
        row["is_open"],
        row["witness"],
        row["endpoint"],
        row["command_id"],
        row["result_revision"],
    )


def test_people_get_a_table(folder):
    """The table names the request whole, however narrow the terminal is."""
    folder.record(folder.submitted(1))
    folder.environ["COLUMNS"] = "50"

    shown = folder.run("requests")

    assert folder.request_id(1) in shown.stdout
    assert "submitted" in shown.stdout


def test_filters_narrow_the_list(folder):
    """State, endpoint, openness and number each leave some out."""
    folder.record(folder.submitted(1), folder.submitted(2, endpoint="a/b"), *folder.lost(3))
    first, second, third = map(folder.request_id, (1, 2, 3))

    assert [first, second, third] == listed(folder)
    assert [third] == listed(folder, "--state", "lost")
    assert [second] == listed(folder, "--endpoint", "a/b")
    assert [first, second] == listed(folder, "--open")
    assert 1 == len(listed(folder, "--limit", "1"))


def test_nothing_is_said_on_standard_output_when_there_is_nothing(folder):
    """An empty list is no output, and a word on standard error."""
    folder.record()

    shown = folder.run("requests")

    assert (0, "", "no such requests\n") == (shown.returncode, shown.stdout, shown.stderr)


def test_a_folder_without_a_ledger_is_told(folder):
    """A folder that nobody served yet is bad configuration."""
    shown = folder.run("requests")

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "holds no ledger" in shown.stderr


def test_groups_and_series_are_found(folder):
    """A group and a series narrow the list, and stand in each row."""
    folder.record(
        folder.submitted(1, group="g", supersedes="k", number=1),
        folder.submitted(2, group="g"),
        folder.submitted(3),
    )
    first, second, _ = map(folder.request_id, (1, 2, 3))

    assert [first, second] == listed(folder, "--group", "g")
    assert [first] == listed(folder, "--supersedes", "k")
    row = json.loads(folder.run("requests", "--json", "--supersedes", "k").stdout)
    assert ("g", "k", 1, None) == (
        row["group"],
        row["supersedes"],
        row["number"],
        row["cancellation"],
    )
