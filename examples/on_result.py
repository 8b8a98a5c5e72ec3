"""Handle every result once it is there: python examples/on_result.py [GROUP] [--once]

Reads the folder in FAL_CONSUMER_DATA_DIR. Stopped or killed, it goes on where it was.
"""

import asyncio
import sys

from consumer import Result, subscribe

done: dict[str | None, int] = {}  # in real life a table with a unique key


def handle(result: Result) -> None:
    """Do your part. The same result may come again, so the second time must be harmless."""
    subject = result.request_id or result.submission_id
    if done.get(subject, 0) >= result.revision:
        return
    print(subject, result.outcome, *(media.url for media in result.media), flush=True)
    done[subject] = result.revision


async def main(group: str, *, follow: bool) -> None:
    async with subscribe(group, follow=follow) as results:
        async for result in results:
            handle(result)  # raises: not finished, comes again at the next start


group = next((word for word in sys.argv[1:] if word != "--once"), "example")
asyncio.run(main(group, follow="--once" not in sys.argv))
