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
MOST = 10**6  # of anything that is counted: samples, tokens, rows, steps that are listed
Count = Annotated[int, Field(ge=1, le=MOST)]


class Block(BaseModel):
    """A mapping of a recipe: no key but its own, no value but of its type, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
