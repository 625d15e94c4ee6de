"""What tokens cost: from the recipe, or from the table `recipes/prices.yaml`, which the user can edit."""

import ipaddress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from cft.errors import DataError
from cft.recipe.blocks.endpoint import PriceBlock
from cft.recipe.shipped import recipes_folder
from cft.recipe.source import read_yaml
from data_builders.asking.calls import Price

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock


def find_price(block: "EndpointBlock", model: str) -> Price | None:
    """The price of a model at an endpoint; nothing on this machine costs; None if it is not known."""
    if block.price:
        return Price(block.price.input, block.price.output)
    host = urlsplit(block.base_url).hostname or ""
    if _is_here(host):
        return Price(0, 0)
    listed = price_table(recipes_folder() / "prices.yaml").get(host, {}).get(model)
    return listed and Price(*(n * (0.5 if block.batch else 1) for n in listed))


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_private


@cache
def price_table(path: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """`{host: {model: (USD for a million input tokens, for a million output tokens)}}`.

    Raises:
        DataError: if the file is there but cannot be read so.
    """
    if not path.exists():
        return {}
    raw = read_yaml(path, largest=1e9)
    try:
        table = TypeAdapter(dict[str, dict[str, PriceBlock]]).validate_python(raw)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{path}: {faults}. It must hold host: {{model: {{input: USD, output: USD}}}}.") from None
    return {host: {model: (p.input, p.output) for model, p in models.items()} for host, models in table.items()}
