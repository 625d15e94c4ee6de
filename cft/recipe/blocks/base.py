"""What all blocks of a recipe share. Every type is strict: no text for a number, no 1 for true."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def once(items: list[Any]) -> list[Any]:
    """A validator: the list, if nothing stands in it twice."""
    twice = [item for i, item in enumerate(items) if item in items[:i]]
    if twice:
        name = getattr(twice[0], "kind", None) or getattr(twice[0], "model", twice[0])
        raise ValueError(f"names {name!r} twice. Name it once")
    return items


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Text], AfterValidator(once)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Samples = Annotated[int, Field(ge=1, le=100_000)]  # of one prompt: each is a call that is held in memory
Temperature = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Block(BaseModel):
    """A mapping of a recipe: no key but its own, no value but of its type, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
