"""Where a Kafka is, in the words of its clients."""

import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from consumer.core.event import Topic
from consumer.devservers.certificates import make_certificates
from consumer.errors import ConfigError
from consumer.log.kafka.place import KafkaPlace, Security, client_options, topic_name, topic_of

PLACE = KafkaPlace(("one:9092", "two:9092"), "mine.")


@pytest.mark.parametrize("topic", Topic)
def test_a_topics_name_leads_back_to_it(topic):
    """Each topic has the prefix in front, and is found again by that name."""
    assert f"mine.{topic.value}" == topic_name(PLACE, topic)
    assert topic is topic_of(PLACE, topic_name(PLACE, topic))


@pytest.mark.parametrize("name", ["completions", "mine.other", "mine.", "", "mine.completions2"])
def test_foreign_topics_are_none_of_ours(name):
    """Another prefix or another name is no topic of ours."""
    assert topic_of(PLACE, name) is None


def test_without_security_only_servers_and_a_name_are_told():
    """PLAINTEXT needs nothing else."""
    assert {
        "bootstrap_servers": ["one:9092", "two:9092"],
        "client_id": "fal-consumer",
        "security_protocol": "PLAINTEXT",
    } == client_options(PLACE)


def test_a_login_is_told_with_its_mechanism():
    """SASL carries mechanism, user and password, and the password is in no representation."""
    security = Security("SASL_PLAINTEXT", "SCRAM-SHA-512", "me", "hidden-word")

    options = client_options(KafkaPlace(("one:9092",), security=security))

    assert "SCRAM-SHA-512" == options["sasl_mechanism"]
    assert ("me", "hidden-word") == (
        options["sasl_plain_username"],
        options["sasl_plain_password"],
    )
    assert "hidden-word" not in repr(security)


def test_tls_takes_authority_and_certificate(tmp_path):
    """TLS checks names and certificates, and shows ours."""
    made = make_certificates(tmp_path)
    client = made.client("me")
    security = Security(
        "SASL_SSL", ca_file=made.authority, cert_file=client.certificate, key_file=client.key
    )

    context = client_options(KafkaPlace(("one:9092",), security=security))["ssl_context"]

    assert context.check_hostname
    assert ssl.CERT_REQUIRED is context.verify_mode
    assert 1 == context.cert_store_stats()["x509_ca"]


def test_files_that_cannot_be_used_are_named(tmp_path):
    """A missing or foreign file is the operator's fault, and is named."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")

    for security in (
        Security("SSL", ca_file=broken),
        Security("SSL", ca_file=tmp_path / "missing.pem"),
        Security("SSL", cert_file=broken, key_file=broken),
    ):
        with pytest.raises(ConfigError) as error:
            client_options(KafkaPlace(("one:9092",), security=security))
        assert str(tmp_path) in str(error.value)


def test_an_encrypted_key_is_an_error_and_no_question(tmp_path):
    """A key behind a password is refused; nothing is asked on the terminal."""
    client = make_certificates(tmp_path).client("me")
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
        )
    )
    security = Security("SSL", cert_file=client.certificate, key_file=locked)

    with pytest.raises(ConfigError):
        client_options(KafkaPlace(("one:9092",), security=security))
