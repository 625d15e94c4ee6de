"""`eval`: what is scored, and how."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cft.recipe.blocks.base import Block, Count, Names, Text, once
from cft.recipe.blocks.endpoint import EndpointBlock
from cft.suggest import did_you_mean

PROMPTS = ("system", "plain", "fewshot", "python")  # variants of eval/tasks/prompts


ARM = rf"(base|adapter|merged|step-[1-9]\d*)(?:@({'|'.join(PROMPTS)}))?"


VARIANTS = tuple(f"@{prompt}" for prompt in PROMPTS)


def _arm(name: str) -> str:
    if not re.fullmatch(ARM, name):
        names = [f"{model}{prompt}" for model in ("base", "adapter", "merged", "step-1") for prompt in ("", *VARIANTS)]
        near = did_you_mean(name, names)
        raise ValueError(
            "is not known. "
            + (near or f"Name base, adapter, merged or step-N, and, if you like, a prompt: {', '.join(VARIANTS)}")
        )
    return name


class EvalBlock(Block):
    """What is scored, how it is decoded, and by what."""

    tasks: Names = Field(min_length=1, description="lm-eval tasks of eval/tasks.")
    arms: Annotated[list[Annotated[str, AfterValidator(_arm)]], AfterValidator(once), Field(min_length=1)] = Field(
        default_factory=lambda: ["base", "adapter"],
        description="What is scored: base, adapter, merged, step-N; with another prompt base@fewshot.",
    )
    limit: Count | None = Field(None, description="Score only the first items of each task; null: all.")
    max_new_tokens: Count = Field(2048, description="Most tokens of an answer; a longer one is truncated.")
    batch_size: Count = Field(32, description="Answers generated at a time.")
    samples: Count = Field(1, description="Answers to each item; more than one need a temperature.")
    temperature: float = Field(0.0, ge=0, description="Temperature of sampling; 0 is greedy.")
    top_k: int = Field(0, ge=0, description="Tokens that are sampled from; 0 is all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability that is sampled from; 1 is all.")
    data: dict[str, Text] = Field(default_factory=dict, description="Task to the local file of its items.")
    data_dir: Text | None = Field(
        None, description="Folder of local files of items; null: from where the task has them."
    )
    backend: Literal["transformers", "hf", "vllm"] = Field(
        "transformers", description="What answers: our batched decoding, or lm-eval's own hf or vllm model."
    )
    endpoint: EndpointBlock | None = Field(None, description="Server that answers in place of this machine.")
    served: dict[str, Text] = Field(
        default_factory=dict, description="Arm's model (base, adapter ...) to its name at the endpoint."
    )

    @property
    def models(self) -> set[str]:
        """What answers in the arms: base, adapter, merged, step-N."""
        return {arm.partition("@")[0] for arm in self.arms}
