"""`train`: how the adapter is trained, and the table of the methods that can."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from cft.recipe.blocks.base import Block, Count, File, Keywords, Text, once

# train.lora.peft_type -> the class of PEFT that takes the other keys of train.lora
ADAPTERS = {"LORA": "peft.LoraConfig", "TINYLORA": "peft.TinyLoraConfig", "BEFT": "peft.BeftConfig"}
LORA_KEYS = "Keys of peft.LoraConfig; with peft_type TINYLORA or BEFT, of peft.TinyLoraConfig or BeftConfig."


class SelectBlock(Block):
    """Which step's adapter is kept: the one with the highest accuracy on validation items, asked during training."""

    task: Text = Field(
        "cft_wordproblems_validation", description="Task whose items choose; none of eval.tasks, no item of theirs."
    )
    data: Annotated[Text | None, File("file")] = Field(
        None, description="Local file of its items; null: from where the task has them."
    )
    steps: Annotated[list[Count], AfterValidator(once)] = Field(
        default_factory=list, description="Optimizer steps after which the items are asked; or give `every`."
    )
    every: Count | None = Field(None, description="Ask after each so many optimizer steps, and after the last.")
    limit: Count | None = Field(100, description="Ask only the first items of the task; null: all.")
    max_new_tokens: Count | None = Field(None, description="Most tokens of an answer; null: as eval.max_new_tokens.")
    batch_size: Count | None = Field(None, description="Answers generated at a time; null: as eval.batch_size.")
    patience: Count | None = Field(3, description="Askings without a new best that stop the training; null: never.")
    leak: float | None = Field(
        0.05,
        gt=0,
        lt=1,
        description="Share of answers that pass a verdict ('Conclusion: wrong'), above the base's, at which training "
        "stops; at least 2 answers; null: never.",
    )
    include_base: bool = Field(True, description="Ask the untrained model first, for comparison; it is never chosen.")


class AdapterTrain(Block):
    """What all methods share that train. `lora` and `args` go to the libraries under the libraries' own names."""

    lora: Keywords = Field(default_factory=dict, description=LORA_KEYS)
    keep_steps: Annotated[list[Count], AfterValidator(once)] = Field(
        default_factory=list, description="Optimizer steps after which the adapter is kept, as the arm step-N."
    )
    select: SelectBlock | None = Field(
        None, description="Keep the step that is best on validation items; null: keep the last step."
    )


class SftTrain(AdapterTrain):
    """Supervised fine-tuning."""

    method: Literal["cft", "sft"] = Field(description="cft: on critiques; sft: on demonstrations or critiques.")
    full: bool = Field(False, description="Train all weights instead of a LoRA adapter; the product is a whole model.")
    args: Keywords = Field(default_factory=dict, description="Keys of trl.SFTConfig.")


class RuleReward(Block):
    """A reward by a rule, through the one grader (`cft.train.rollouts.rewards`)."""

    kind: Literal["correct", "format", "incorrect", "majority", "python", "constant", "verdict"]
    weight: float = Field(1.0, description="Factor of this reward in the sum.")


class RandomReward(Block):
    """1 or 0 by chance, whatever the completion (Spurious Rewards, arXiv 2506.10947, section 2)."""

    kind: Literal["random"]
    probability: float = Field(0.5, gt=0, lt=1, description="Of a 1.")
    weight: float = Field(1.0, description="Factor of this reward in the sum.")


class FileReward(Block):
    """A function of yours: `reward(completions, **columns) -> list[float]`, called in a process of its own."""

    kind: Literal["file"]
    path: Annotated[Text, File("file")] = Field(description="Python file.")
    function: Text = Field("reward", description="Name of the function in it.")
    timeout: float = Field(10.0, gt=0, le=3600, description="Seconds that one call may take.")
    weight: float = Field(1.0, description="Factor of this reward in the sum.")


Reward = Annotated[
    Annotated[RuleReward | RandomReward | FileReward, Field(discriminator="kind")],
    BeforeValidator(lambda reward: {"kind": reward} if isinstance(reward, str) else reward),
]
Rewards = Annotated[list[Reward], AfterValidator(once)]


class RolloutTrain(AdapterTrain):
    """What the methods share that train on the model's own completions."""

    full: ClassVar[bool] = False


# What the batches of a RolloutTrain are where `args` says nothing: a step trains on 32 completions, two groups of 16
ROLLOUT_ARGS = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 16}


class GrpoTrain(RolloutTrain):
    """Reinforcement learning with verifiable rewards, by TRL's GRPOTrainer (GRPO: arXiv 2402.03300, section 4.1)."""

    method: Literal["grpo"]
    rewards: Rewards = Field(
        min_length=1, description="correct, format, random, incorrect, majority, python, constant, verdict, or a file."
    )
    args: Keywords = Field(default_factory=dict, description="Keys of trl.GRPOConfig.")


class DistilTrain(RolloutTrain):
    """Self-distillation: the model that sees a critique teaches the model that does not, on its own completions.

    sdft: arXiv 2601.19897. sdpo: arXiv 2601.20802, whose teacher sees a completion with a reward beside the critique.
    """

    method: Literal["sdft", "sdpo"]
    args: Keywords = Field(
        default_factory=dict, description="Keys of trl.experimental.sdft.SDFTConfig, or of sdpo.SDPOConfig."
    )


class NoTrain(Block):
    """No training, for recipes that only score the base model. It has no other key; these are what readers ask for."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, raw: Any) -> Any:
        """`train.lora={}` on the command line is the way to leave out a key of a recipe that trains."""
        return {key: value for key, value in raw.items() if value != {}} if isinstance(raw, dict) else raw

    method: Literal["none"]
    full: ClassVar[bool] = False
    args: ClassVar[dict[str, Any]] = {}
    keep_steps: ClassVar[list[int]] = []
    select: ClassVar[None] = None


TrainBlock = Annotated[SftTrain | GrpoTrain | DistilTrain | NoTrain, Field(discriminator="method")]


@dataclass(frozen=True)
class Method:
    """A way of training. A new one has its block and entry in this file, and a module of its own."""

    block: type[Block]
    builders: tuple[str, ...]  # data.builder of the rows that it trains on
    config: str | None = None  # the library's class that takes train.args, with its module
    module: str | None = None  # has train(recipe, examples, folder, *, console, tracker) -> summary

    def load(self) -> Callable[..., dict[str, Any]]:
        """The function that trains; its libraries are imported."""
        return import_module(self.module).train


METHODS = {
    "cft": Method(SftTrain, ("critiques",), "trl.SFTConfig", "cft.train.sft"),
    "sft": Method(
        SftTrain, ("critiques", "demonstrations", "trajectories", "curated"), "trl.SFTConfig", "cft.train.sft"
    ),
    "grpo": Method(GrpoTrain, ("prompts", "verdicts"), "trl.GRPOConfig", "cft.train.grpo"),
    "sdft": Method(DistilTrain, ("critiques",), "trl.experimental.sdft.SDFTConfig", "cft.train.distil"),
    "sdpo": Method(DistilTrain, ("critiques",), "trl.experimental.sdpo.SDPOConfig", "cft.train.distil"),
    "none": Method(NoTrain, ("none",)),
}
