"""For commands that ask fal by themselves: no service, no folder, nothing recorded."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from consumer.app.credentials import fal_credential
from consumer.errors import SchemaDrift
from consumer.fal import FalAddresses, FalClient, FalLimits, FalParts, open_client
from consumer.media.download import Downloader, DownloadLimits, open_downloader
from consumer.media.places import FAL_PLACES, parse_place
from consumer.settings import Settings


@asynccontextmanager
async def open_direct(
    settings: Settings, on_drift: Callable[[SchemaDrift], None]
) -> AsyncIterator[FalClient]:
    """Open fal's API as configured; `on_drift` hears what of its answers was not understood."""
    addresses = FalAddresses(settings.queue_url, settings.api_url, settings.jwks_url)
    parts = FalParts(FalLimits(submit_s=settings.submit_timeout_s), on_drift=on_drift)
    async with open_client(fal_credential(settings), addresses, parts) as client:
        yield client


@asynccontextmanager
async def open_downloads(settings: Settings) -> AsyncIterator[Downloader]:
    """Open what saves files of results, with the configured places and limits."""
    limits = DownloadLimits(
        max_file_bytes=settings.media_max_file_bytes,
        max_total_bytes=settings.media_max_total_bytes,
    )
    places = (*FAL_PLACES, *map(parse_place, settings.media_hosts))
    async with open_downloader(places, limits) as downloader:
        yield downloader
