"""`topics`: made, shown and judged on a real Kafka; the rights printed without one."""

import json
import shlex

import pytest

TOPICS = ["completions", "results", "lifecycle", "commands", "dead-letters"]


@pytest.fixture
def cluster(folder, kafka, topic_prefix):
    """Return the folder, set up for a prefix of its own on a Kafka of one broker."""
    folder.environ |= {
        "FAL_CONSUMER_LOG_URL": kafka.url,
        "FAL_CONSUMER_KAFKA_SINGLE_BROKER": "true",
        "FAL_CONSUMER_TOPIC_PREFIX": topic_prefix,
    }
    return folder


def lines(shown) -> list[dict]:
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_missing_topics_are_told_with_what_to_do(cluster):
    """Without topics it exits 1, and each row names the command that makes them."""
    shown = cluster.run("topics")

    assert 1 == shown.returncode
    assert len(TOPICS) == shown.stdout.count("is not there: fal-consumer topics create")


def test_topics_are_made_once_and_are_then_as_needed(cluster):
    """After `create` the check is content; `create` again leaves all as they are."""
    dry, made, again = (
        cluster.run("topics", "create", "--json", *more) for more in (["--dry-run"], [], [])
    )
    shown = cluster.run("topics", "--json")

    assert [{"would make"}, {"made"}, {"as needed"}] == [
        {line["did"] for line in lines(one)} for one in (dry, made, again)
    ]
    assert [0, 0, 0, 0] == [one.returncode for one in (dry, made, again, shown)]
    assert [(name, "ok", 12) for name in TOPICS] == [
        (line["topic"].partition(".")[2], line["verdict"], line["partitions"])
        for line in lines(shown)
        if line["kind"] == "topic"
    ]


def test_topics_that_are_too_small_are_mended_only_when_asked(cluster):
    """A larger body needs larger topics: told by the check, left by `create`, set by `--fix`."""
    cluster.run("topics", "create", "--partitions", "1")
    cluster.environ["FAL_CONSUMER_MAX_BODY_BYTES"] = "20MiB"

    shown, left, fixed, again = (
        cluster.run("topics", *arguments)
        for arguments in (["check"], ["create"], ["create", "--fix"], ["check"])
    )

    assert [1, 1, 0, 0] == [one.returncode for one in (shown, left, fixed, again)]
    assert "max.message.bytes 11534336, needs 22020096" in shown.stdout
    assert "--fix would set max.message.bytes 22020096" in left.stdout
    assert "changed" in fixed.stdout


def test_three_copies_are_not_made_on_one_broker(cluster):
    """Without the operator's word that one broker is enough, `create` refuses and says why."""
    del cluster.environ["FAL_CONSUMER_KAFKA_SINGLE_BROKER"]

    shown = cluster.run("topics", "create", "--json")

    assert 1 == shown.returncode
    assert {"refused"} == {line["did"] for line in lines(shown)}
    assert "set FAL_CONSUMER_KAFKA_SINGLE_BROKER" in lines(shown)[0]["text"]


def test_fewer_copies_need_the_operators_word(cluster):
    """`--replication 2` is bad configuration, unless a single broker is the setting."""
    del cluster.environ["FAL_CONSUMER_KAFKA_SINGLE_BROKER"]

    shown = cluster.run("topics", "create", "--replication", "2")

    assert (2, "") == (shown.returncode, shown.stdout)
    assert "FAL_CONSUMER_KAFKA_SINGLE_BROKER" in shown.stderr


def test_a_kafka_that_is_away_is_one_sentence(folder):
    """It exits 1 with the address and the reason."""
    folder.environ["FAL_CONSUMER_LOG_URL"] = "kafka://127.0.0.1:1"

    shown = folder.run("topics")

    assert (1, "") == (shown.returncode, shown.stdout)
    assert "fal-consumer: 127.0.0.1:1: Connection refused\n" in shown.stderr


def test_the_embedded_log_has_no_topics_to_make(folder):
    """On the embedded log every one of them exits 2 and names the setting."""
    for arguments in (["check"], ["create"], ["acls"]):
        shown = folder.run("topics", *arguments)
        assert (2, "") == (shown.returncode, shown.stdout)
        assert "FAL_CONSUMER_LOG_URL" in shown.stderr


def test_rights_are_printed_without_asking_anybody(folder):
    """Without names they are for a receiver and a worker, as calls of Kafka's own tool."""
    folder.environ["FAL_CONSUMER_LOG_URL"] = "kafka://nobody.invalid:9092"

    shown = folder.run("topics", "acls")

    calls = [line for line in shown.stdout.splitlines() if not line.startswith("#")]
    assert (0, {"kafka-acls.sh"}) == (
        shown.returncode,
        {shlex.split(line)[0] for line in calls},
    )
    assert {"User:fal-receiver", "User:fal-worker"} == {
        word for line in calls for word in shlex.split(line) if word.startswith("User:")
    }


def test_rights_as_lines_for_programs(folder):
    """A reader reads results in a group of its own, and has no other right."""
    folder.environ["FAL_CONSUMER_LOG_URL"] = "kafka://nobody.invalid:9092"

    shown = folder.run("topics", "acls", "--reader", "shop:bills", "--json")

    assert [("User:shop", "Read", "fal.results"), ("User:shop", "Read", "fal.bills")] == [
        (line["principal"], line["operation"], line["resource_name"]) for line in lines(shown)
    ]


def test_a_user_without_a_name_is_refused(folder):
    """An empty name is a usage error."""
    folder.environ["FAL_CONSUMER_LOG_URL"] = "kafka://nobody.invalid:9092"

    assert 2 == folder.run("topics", "acls", "--worker", "").returncode


def test_check_looks_at_kafka_as_its_role_would(cluster, tmp_path):
    """`check` shows the topics and the rights on them, and fails while there are none."""
    secrets = tmp_path / "secrets"
    secrets.write_text("s" * 40)
    cluster.environ |= {
        "FAL_CONSUMER_ACCOUNTS": "github|1",
        "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(secrets),
        "FAL_CONSUMER_JWKS_URL": "http://127.0.0.1:1/jwks.json",
    }

    def found() -> dict[str, str]:
        shown = cluster.run("check", "--role", "receive", "--json")
        return {row["name"]: row["verdict"] for row in lines(shown) if row["kind"] == "check"}

    before = found()
    cluster.run("topics", "create", "--partitions", "1")
    after = found()

    names = [cluster.environ["FAL_CONSUMER_TOPIC_PREFIX"] + topic for topic in TOPICS]
    assert {"failed"} == {before[name] for name in names}
    assert {"ok"} == {after[name] for name in [*names, "kafka brokers", "kafka rights"]}
    assert "warning" == after["kafka writers"]
