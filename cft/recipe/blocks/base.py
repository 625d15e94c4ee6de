"""What all blocks of a recipe share. Every type is strict: no text for a number, no 1 for true."""

from collections.abc import Iterator
from dataclasses import dataclass
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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class File:
    """Marks a field whose texts name files: their content decides the result as much as the recipe does.

    `kind` says how a name is looked up (`cft.pipeline.LOOK_UP`). A test walks all fields: one with text has this mark,
    or stands in its list of texts that name nothing.
    """

    kind: str


Keywords = Annotated[dict[str, Any], File("if it is one")]  # of a library; a text among them may name a file


def named_files(value: Any, kind: str = "", key: str = "") -> Iterator[tuple[str, str, str]]:
    """`(key, kind, name)` of every text in a block whose field is marked with `File`."""
    if isinstance(value, Block):
        for name, field in type(value).model_fields.items():
            marks = [mark.kind for mark in field.metadata if isinstance(mark, File)]
            yield from named_files(getattr(value, name), "".join(marks), f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | dict):
        for step, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from named_files(below, kind, f"{key}.{step}")
    elif isinstance(value, str) and kind:
        yield key, kind, value
