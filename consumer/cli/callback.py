"""`callback-url`: a webhook address for jobs that somebody submits without us."""

from typing import TYPE_CHECKING

import click

from consumer.cli.setup import Explained, with_settings
from consumer.core.endpoint import is_endpoint_id
from consumer.core.token import Token
from consumer.core.token import callback_url as address_of
from consumer.errors import ConfigError
from consumer.folder import DataFolder

if TYPE_CHECKING:
    from consumer.settings import Settings


@click.command(
    "callback-url",
    cls=Explained,
    example="""\
curl "https://queue.fal.run/fal-ai/flux/dev?fal_webhook=$(fal-consumer callback-url \\
  fal-ai/flux/dev)" -H "Authorization: Key $FAL_KEY" --json '{"prompt": "a cat"}'""",
)
@click.argument("endpoint")
@with_settings
def callback_url(settings: "Settings", *, endpoint: str) -> None:
    """
    Print a webhook address to submit your own jobs with.

    Any number of jobs of one endpoint may share it. Keep it to yourself: it lets a delivery
    name its endpoint. Needs FAL_CONSUMER_PUBLIC_URL and the secrets of the `serve` behind it.
    """
    if not is_endpoint_id(endpoint):
        raise click.UsageError("ENDPOINT: expected owner/app[/path], like fal-ai/flux/dev")
    if settings.public_url is None:
        missing = (
            "FAL_CONSUMER_PUBLIC_URL: missing; it is the address under which fal reaches "
            "the receiver, like https://hooks.example.com"
        )
        raise ConfigError([missing])
    click.echo(address_of(settings.public_url, Token(endpoint), _secrets(settings)))


def _secrets(settings: "Settings") -> tuple[bytes, ...]:
    """
    Return the configured secrets, else those that `serve` made. None are made here: in a
    folder that nobody serves they would sign addresses that nobody knows.
    """
    from consumer.settings import read_token_secrets  # noqa: PLC0415

    path = settings.token_secrets_file or DataFolder(settings.data_dir).token_secrets
    if settings.token_secrets_file is None and not path.exists():
        missing = (
            f"FAL_CONSUMER_TOKEN_SECRETS_FILE: missing, and {settings.data_dir} holds no "
            "secrets yet; start `serve` there once, or name its folder"
        )
        raise ConfigError([missing])
    return read_token_secrets(path)
