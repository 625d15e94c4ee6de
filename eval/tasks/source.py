"""What the YAML of a task says of its items."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cft.errors import EvalError

HUB_ID = r"[\w-][\w.-]*(/[\w.-]+)?"  # what has this form is on the hub; a local path begins with / or ./


class Source(BaseModel):
    """Where the items of a task are, and what their keys are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(description="Name under which a local file is given; the variants of a task share it.")
    hub: str | None = Field(None, description="Data set on the hub, or a local folder as ./NAME or /NAME.")
    config: str | None = Field(None, description="Its configuration.")
    split: str = Field("test", description="Its split.")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="Its commit.")
    url: str | None = Field(None, description="Address of one file, where the hub is not the source.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of that file's bytes.")
    names: tuple[str, ...] = Field((), description="What the file or folder in data_dir may also be called.")
    question: tuple[str, ...] = Field(("problem", "question"), description="Keys; the first that a row has is read.")
    answer: tuple[str, ...] = Field(
        ("answer", "final_answer", "gold", "solution"),
        description="Likewise; of a solution its last box is the answer.",
    )
    after: str = Field("", description="The answer is the number behind the last of these: '####' of GSM8K.")
    subject: str | None = Field(None, description="Key of the field, by which accuracy is also shown.")
    level: str | None = Field(None, description="Key of the difficulty.")


def read_source(items: dict[str, Any]) -> Source:
    """What stands under `dataset_kwargs: items:`.

    Raises:
        EvalError: listing the keys that are wrong.
    """
    try:
        return Source.model_validate(items)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, not {e['input']!r}" for e in error.errors())
        task = items.get("task", "a task") if isinstance(items, dict) else "a task"
        raise EvalError(f"dataset_kwargs.items of {task}: {faults}") from None
