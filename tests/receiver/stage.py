"""What the tests of the receiver send it, and the rules that it follows."""

from consumer.receiver import ReceiverRules
from consumer.testing.deliveries import webhook_body
from consumer.testing.receiving import ACCOUNT

SECRET = b"a secret of at least 32 random bytes!"
SOURCE = "https://keys.example"
BODY = webhook_body()


def rules(**changed):
    settings = {"accounts": frozenset({ACCOUNT}), "source": SOURCE, "token_secrets": (SECRET,)}
    return ReceiverRules(**{**settings, **changed})


def only_record(setting, topic):
    found = setting.log.records(topic)
    assert 1 == len(found)
    return found[0]
