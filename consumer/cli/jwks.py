"""`jwks`: the public keys by which anybody verifies fal's webhooks."""

from typing import TYPE_CHECKING

import click

from consumer.cli.direct import open_fal
from consumer.cli.setup import Explained, run_loop, with_settings
from consumer.cli.terminal import note, print_json, print_table, short_span
from consumer.core.event import format_time

if TYPE_CHECKING:
    from consumer.fal import HeldKeySet
    from consumer.settings import Settings


@click.command(cls=Explained, example="fal-consumer jwks --json | jq '.keys[].kid'")
@click.option("--json", "as_json", is_flag=True, help="Print the key set as a JSON line.")
@with_settings
def jwks(settings: "Settings", *, as_json: bool) -> None:
    """
    Fetch the public Ed25519 keys that fal signs webhooks with, as usable ones only.

    No fal key is needed. A key set may be held for an hour before it is fetched anew, and for
    a day at most. The keys that a running service holds are told by its /readyz.

    Exit code 1: fal did not answer with a usable key; 2: wrong usage or settings.
    """
    found = run_loop(_fetched(settings))
    if as_json:
        told = found.model_dump(mode="json")
        told |= {
            "fetched_at": format_time(found.fetched_at),
            "refresh_at": format_time(found.refresh_at),
        }
        print_json(told)
        return
    print_table(
        ("KID", "PUBLIC KEY (BASE64URL)"), [(key.kid, key.x) for key in found.keys], whole=2
    )
    left = found.refresh_at - found.fetched_at
    note(f"from {found.url}; to be fetched again within {short_span(left)}")


async def _fetched(settings: "Settings") -> "HeldKeySet":
    async with open_fal(settings) as fal:
        return await fal.key_set()
