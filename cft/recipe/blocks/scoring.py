"""`eval`: what is scored, and how."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from cft.recipe.blocks.base import MOST, Block, Count, File, Keywords, Names, Text
from cft.recipe.blocks.endpoint import EndpointBlock
from cft.suggest import did_you_mean, nearest
from eval.elicitors.table import ELICITORS
from eval.prompts import arm_prompts

MODEL = r"base|adapter|merged|step-[1-9]\d*"
Decoder = Literal["auto", "steps", "graphs"]
MODELS = ("base", "adapter", "merged", "step-1")  # one of each kind, for suggestions


def _known(value: str, known: list[str]) -> str:
    if value not in known:
        raise ValueError(f"is not known. {did_you_mean(value, known)}")
    return value


def _model(value: str) -> str:
    if not re.fullmatch(MODEL, value):
        raise ValueError(f"is not known. {did_you_mean(value, MODELS)}")
    return value


class ElicitorBlock(Block):
    """A way to decode that needs no training."""

    name: Annotated[Text, AfterValidator(lambda name: _known(name, list(ELICITORS)))] = Field(
        description="Its name in eval/elicitors/table.py."
    )
    options: Keywords = Field(default_factory=dict, description="Its own keyword arguments.")


class Arm(Block):
    """One thing that is scored. `MODEL[@PROMPT][+ELICITOR]` is the short form of a block."""

    model: Annotated[Text, AfterValidator(_model)] = Field(description="base, adapter, merged or step-N.")
    prompt: Annotated[Text, AfterValidator(lambda name: _known(name, arm_prompts()))] | None = Field(
        None, description="A prompt of eval/prompts.py; null: the task's own."
    )
    elicitor: Annotated[ElicitorBlock, BeforeValidator(lambda e: {"name": e} if isinstance(e, str) else e)] | None = (
        Field(None, description="A way to decode that needs no training, by name or as {name, options}; null: plain.")
    )
    name: str = Field(
        "",
        validate_default=True,
        max_length=100,
        description="MODEL[@PROMPT][+WORD], in reports and folders; a WORD of your own tells elicitors apart.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        asked, _, elicitor = value.partition("+")
        model, _, prompt = asked.partition("@")
        ends = [f"@{name}" for name in arm_prompts()] + [f"+{name}" for name in ELICITORS]
        read = model + (f"@{prompt}" if prompt else "") + (f"+{elicitor}" if elicitor else "")
        known = re.fullmatch(MODEL, model) and prompt in ["", *arm_prompts()] and elicitor in ["", *ELICITORS]
        if read != value or not known:
            near = nearest(value, [f"{model}{end}" for model in MODELS for end in ("", *ends)])
            names = f"Name base, adapter, merged or step-N, and, if you like, one of {', '.join(ends)}"
            raise ValueError(f"is not known. {f'Did you mean {near}?' if near else names}")
        return {"model": model, "prompt": prompt or None, "elicitor": elicitor or None}

    @field_validator("name", mode="after")
    @classmethod
    def _name_that_tells(cls, name: str, info: ValidationInfo) -> str:
        """Reports read model and prompt from the name, so it begins with them."""
        if not {"model", "prompt", "elicitor"} <= info.data.keys():
            return name  # a fault of theirs is reported
        prompt, elicitor = info.data["prompt"], info.data["elicitor"]
        begin = info.data["model"] + (f"@{prompt}" if prompt else "")
        if not name:
            return begin + (f"+{elicitor.name}" if elicitor else "")
        if not re.fullmatch(re.escape(begin) + (r"\+[\w.-]+" if elicitor else ""), name):
            word = "+WORD" if elicitor else ""
            raise ValueError(f"does not say what answers. Leave it out, or write {begin}{word}")
        return name

    @model_serializer(mode="wrap")
    def _short(self, dump: SerializerFunctionWrapHandler) -> Any:
        plain = self.elicitor is None or (not self.elicitor.options and self.name.endswith(f"+{self.elicitor.name}"))
        return self.name if plain else dump(self)

    def __str__(self) -> str:
        return self.name


def _each_once(arms: list[Arm]) -> list[Arm]:
    names = [arm.name for arm in arms]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"names {twice[0]!r} twice. Name it once, or give the arms names that differ")
    return arms


class EvalBlock(Block):
    """What is scored, how it is decoded, and by what."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of eval/tasks or of task_dir.")
    task_dir: Annotated[Text | None, File("tasks")] = Field(
        None, description="Folder of lm-eval tasks of your own: YAML files."
    )
    arms: Annotated[list[Arm], AfterValidator(_each_once), Field(min_length=1)] = Field(
        default_factory=lambda: [Arm.model_validate("base"), Arm.model_validate("adapter")],
        description="What is scored: base, adapter, merged, step-N; base@fewshot; or {model, prompt, elicitor, name}.",
    )
    limit: Count | None = Field(None, description="Score only the first items of each task; null: all.")
    max_new_tokens: Count = Field(2048, description="Most tokens of an answer; a longer one is truncated.")
    batch_size: Count = Field(32, description="Answers generated at a time.")
    decoder: Decoder = Field(
        "auto",
        description="How this machine writes: steps, graphs (CUDA graphs, rows refilled); auto: graphs on CUDA GPUs.",
    )
    samples: Count = Field(1, description="Answers to each item; more than one need a temperature.")
    temperature: float = Field(0.0, ge=0, description="Temperature of sampling; 0 is greedy.")
    top_k: int = Field(0, ge=0, le=MOST, description="Tokens that are sampled from; 0 is all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    data: Annotated[dict[str, Text], File("file")] = Field(
        default_factory=dict, description="Task to the local file of its items."
    )
    data_dir: Annotated[Text | None, File("items")] = Field(
        None, description="Folder of local files of items; null: from where the task has them."
    )
    endpoint: EndpointBlock | None = Field(None, description="Server that answers in place of this machine.")
    served: dict[str, Text] = Field(
        default_factory=dict, description="Arm's model (base, adapter ...) to its name at the endpoint."
    )

    @property
    def arm_names(self) -> list[str]:
        """The arms, as reports and folders call them."""
        return [arm.name for arm in self.arms]

    @property
    def models(self) -> set[str]:
        """What answers in the arms: base, adapter, merged, step-N."""
        return {arm.model for arm in self.arms}
