"""`models`, `pricing` and `estimate`: what fal offers, and what it costs."""

from collections.abc import Sequence
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

import click

from consumer.cli.direct import endpoint_argument, open_fal
from consumer.cli.setup import Explained, run_loop, with_settings
from consumer.cli.terminal import note, print_json, print_table

if TYPE_CHECKING:
    from consumer.fal import Estimate, Model, Prices
    from consumer.settings import Settings

_MAX_NAME_CHARS = 60
_MAX_QUANTITY = 10**12


def _endpoints(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(endpoint_argument(text) for text in dict.fromkeys(given))


# ---------------------------------------------------------------- models


@click.command(
    cls=Explained,
    example="""\
fal-consumer models flux --category text-to-image
fal-consumer models --id fal-ai/flux/dev --openapi --json""",
)
@click.argument("text", required=False)
@click.option(
    "--id",
    "endpoints",
    multiple=True,
    metavar="ENDPOINT",
    callback=_endpoints,
    help="These, by their ids. Repeat it.",
)
@click.option("--category", metavar="WORD", help="Only of one category, like text-to-image.")
@click.option(
    "--status",
    type=click.Choice(["active", "deprecated"]),
    help="Only those in use, or only those to leave.",
)
@click.option("--openapi", "has_openapi", is_flag=True, help="With the OpenAPI document of each.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many at most; more are not asked for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each, whole.")
@with_settings
def models(  # noqa: PLR0913  click hands over one argument an option
    settings: "Settings",
    *,
    text: str | None,
    endpoints: tuple[str, ...],
    category: str | None,
    status: Literal["active", "deprecated"] | None,
    has_openapi: bool,
    limit: int,
    as_json: bool,
) -> None:
    """
    List fal's models: by text, by id, by category and status.

    Asks fal itself. Exit code 0 also where none matches; 1: fal does not know one of the ids,
    or did not answer; 2: wrong usage or settings.
    """
    if has_openapi and not as_json:
        raise click.UsageError("--openapi: give --json with it; the documents are long")
    filters = {
        "text": text,
        "category": category,
        "status": status,
        "has_openapi": has_openapi,
        "page_size": None if has_openapi or endpoints else min(limit, 1000),
    }
    count = run_loop(_list_models(settings, endpoints, filters, limit=limit, as_json=as_json))
    if count == 0:
        note("no such models")
    elif count == limit:
        note(f"the first {limit}; there may be more (--limit)")


async def _list_models(
    settings: "Settings",
    endpoints: Sequence[str],
    filters: dict[str, Any],
    *,
    limit: int,
    as_json: bool,
) -> int:
    """Print models as they come, or as a table once all are here, and return how many."""
    found: list[Model] = []
    async with open_fal(settings) as fal, aclosing(fal.models(endpoints, **filters)) as every:
        async for model in every:
            found.append(model)
            if as_json:
                print_json(model.model_dump(mode="json"))
            if len(found) == limit:
                break
    if found and not as_json:
        _print_models(found)
    return len(found)


def _print_models(found: "Sequence[Model]") -> None:
    rows = []
    for model in found:
        told = model.metadata
        name = told.display_name if told else ""
        rows.append(
            (
                model.endpoint_id,
                told.category if told else "",
                told.status if told else "",
                name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 1] + "…",
            )
        )
    print_table(("MODEL", "CATEGORY", "STATUS", "NAME"), rows)


# ---------------------------------------------------------------- pricing


@click.command(cls=Explained, example="fal-consumer pricing fal-ai/flux/dev fal-ai/flux/schnell")
@click.argument("endpoints", metavar="ENDPOINT…", nargs=-1, required=True, callback=_endpoints)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each.")
@with_settings
def pricing(settings: "Settings", *, endpoints: tuple[str, ...], as_json: bool) -> None:
    """
    Show what a unit of each of these endpoints costs your account, any number of them.

    Asks fal itself, with the configured key. Exit code 1: fal names no price for one of them
    (the others are shown), or did not answer; 2: wrong usage or settings.
    """
    found = run_loop(_priced(settings, endpoints))
    if as_json:
        for price in found.prices:
            print_json(price.model_dump(mode="json"))
    elif found.prices:
        print_table(
            ("MODEL", "PRICE", "CURRENCY", "PER"),
            [
                (price.endpoint_id, _plain(price.unit_price), price.currency, price.unit)
                for price in found.prices
            ],
            whole=2,
        )
    for name in found.unknown:
        note(f"fal names no price for {name}")
    click.get_current_context().exit(1 if found.unknown else 0)


async def _priced(settings: "Settings", endpoints: Sequence[str]) -> "Prices":
    async with open_fal(settings) as fal:
        return await fal.pricing(endpoints)


# ---------------------------------------------------------------- estimate


def _quantities(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for text in given:
        endpoint, mark, amount = text.partition("=")
        try:
            quantity = Decimal(amount if mark else "1")
        except InvalidOperation as exc:
            raise click.UsageError(f"{text}: expected ENDPOINT=NUMBER, like a/b=100") from exc
        if not (quantity.is_finite() and 0 < quantity <= _MAX_QUANTITY):
            raise click.UsageError(f"{text}: expected a number above 0, up to {_MAX_QUANTITY}")
        if endpoint_argument(endpoint) in found:
            raise click.UsageError(f"{endpoint} is there twice")
        found[endpoint] = quantity
    return found


@click.command(
    cls=Explained,
    example="""\
fal-consumer estimate fal-ai/flux/dev=1000
fal-consumer estimate --units fal-ai/flux/dev=12.5 fal-ai/kling-video/v2/master=60""",
)
@click.argument(
    "quantities", metavar="ENDPOINT=NUMBER…", nargs=-1, required=True, callback=_quantities
)
@click.option(
    "--units", is_flag=True, help="The numbers are billing units (images, seconds …), not calls."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line.")
@with_settings
def estimate(
    settings: "Settings", *, quantities: dict[str, Decimal], units: bool, as_json: bool
) -> None:
    """
    Estimate what calls would cost by what such calls of yours have cost, or units by their price.

    fal names one total only, and real cost may be higher. Exit code 1: fal does not know one
    of the endpoints, or did not answer; 2: wrong usage or settings.
    """
    if not units and any(number != int(number) for number in quantities.values()):
        raise click.UsageError("calls are whole numbers; give --units for billing units")
    found = run_loop(_estimated(settings, quantities, units=units))
    if as_json:
        asked = {name: str(number) for name, number in quantities.items()}
        print_json({**found.model_dump(mode="json"), "quantities": asked})
        return
    noun = "UNITS" if units else "CALLS"
    rows = [(name, _plain(number), "") for name, number in quantities.items()]
    rows.append(("total", "", f"{_plain(found.total_cost)} {found.currency}"))
    print_table(("MODEL", noun, "COST"), rows, whole=3)


async def _estimated(
    settings: "Settings", quantities: dict[str, Decimal], *, units: bool
) -> "Estimate":
    async with open_fal(settings) as fal:
        return await fal.estimate("unit_price" if units else "historical_api_price", quantities)


def _plain(amount: Decimal) -> str:
    """Return an amount to six places, without an exponent and zeros that say nothing."""
    if abs(amount) < _MAX_QUANTITY:  # beyond that, rounding may need more digits than it has
        amount = round(amount, 6) or amount
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
