"""`callback-url`: an address that the receiver will recognise."""

from consumer.core.token import Token, parse_token

SECRET = "s" * 40
PUBLIC = "https://hooks.example.com"


def test_it_prints_the_address_alone(folder, tmp_path):
    """Standard output is one URL whose token names the endpoint and no submission."""
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{SECRET}\n")
    folder.environ |= {
        "FAL_CONSUMER_PUBLIC_URL": PUBLIC,
        "FAL_CONSUMER_TOKEN_SECRETS_FILE": str(secrets),
    }

    shown = folder.run("callback-url", "fal-ai/flux/dev")

    assert (0, "") == (shown.returncode, shown.stderr)
    base, _, token = shown.stdout.removesuffix("\n").rpartition("/")
    assert f"{PUBLIC}/webhooks/fal" == base
    assert Token("fal-ai/flux/dev") == parse_token(token, [SECRET.encode()])


def test_it_uses_the_secrets_that_serve_made(folder):
    """Without a file of secrets those in the data folder sign; none are made here."""
    folder.environ["FAL_CONSUMER_PUBLIC_URL"] = PUBLIC
    before = folder.run("callback-url", "fal-ai/flux/dev")
    folder.path.mkdir()
    (folder.path / "token-secrets").write_text(f"{SECRET}\n")

    after = folder.run("callback-url", "fal-ai/flux/dev")

    assert (2, "") == (before.returncode, before.stdout)
    assert "start `serve` there once" in before.stderr
    assert 0 == after.returncode


def test_it_needs_a_public_address_and_an_endpoint(folder):
    """Without FAL_CONSUMER_PUBLIC_URL, or for no endpoint id, it exits 2 and says so."""
    nowhere = folder.run("callback-url", "fal-ai/flux/dev")
    folder.environ["FAL_CONSUMER_PUBLIC_URL"] = PUBLIC
    nobody = folder.run("callback-url", "flux")

    assert (2, 2) == (nowhere.returncode, nobody.returncode)
    assert "FAL_CONSUMER_PUBLIC_URL: missing" in nowhere.stderr
    assert "expected owner/app" in nobody.stderr
