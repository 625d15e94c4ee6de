"""How many completions a training samples at a time, and how many optimizer steps it makes of them. No torch.

TRL's trainers on the model's own completions (GRPO, SDFT, SDPO) sample a *generation*: `num_generations` completions, a
group, for each of some prompts. They train on it in micro-batches, `num_iterations` times, before they sample again.
"""

import math
from dataclasses import dataclass
from typing import Any

from cft.recipe.blocks import ROLLOUT_ARGS


@dataclass(frozen=True)
class RolloutBatches:
    """The batches of one process. `completions` stays what it is when a smaller micro-batch is taken for memory."""

    rows: int  # completions of a micro-batch: per_device_train_batch_size
    accumulation: int  # micro-batches an optimizer step: gradient_accumulation_steps
    group: int  # completions a prompt: num_generations
    completions: int  # of a generation: generation_batch_size
    iterations: int  # times that a generation is trained on: num_iterations

    @classmethod
    def of(cls, args: dict[str, Any]) -> "RolloutBatches":
        """Those of `train.args`, with our defaults where it says nothing.

        TRL takes one of generation_batch_size and steps_per_generation, micro-batches a generation; without either a
        generation is what an optimizer step trains on.
        """
        args = ROLLOUT_ARGS | args
        rows, accumulation = args["per_device_train_batch_size"], args["gradient_accumulation_steps"]
        completions = args.get("generation_batch_size") or rows * (args.get("steps_per_generation") or accumulation)
        return cls(
            rows=rows,
            accumulation=accumulation,
            group=args["num_generations"],
            completions=completions,
            iterations=args.get("num_iterations", 1),
        )

    @property
    def args(self) -> dict[str, int]:
        """The keys of GRPOConfig, SDFTConfig or SDPOConfig."""
        return {
            "per_device_train_batch_size": self.rows,
            "gradient_accumulation_steps": self.accumulation,
            "num_generations": self.group,
            "generation_batch_size": self.completions,
            "num_iterations": self.iterations,
        }

    @property
    def prompts(self) -> int:
        """Prompts a generation, of which one may be there several times."""
        return self.completions // self.group

    @property
    def steps(self) -> float:
        """Optimizer steps a generation; below 1 where a step takes several generations."""
        return self.completions * self.iterations / (self.rows * self.accumulation)

    @property
    def every(self) -> int:
        """Optimizer steps from one that begins with a generation to the next such: where a training can go on."""
        return max(1, round(self.steps))

    @property
    def clips(self) -> bool:
        """Whether the clip range can act: the model moves between the sampling of a completion and a step on it.

        Else TRL takes the ratio of both policies as 1 (`GRPOTrainer._generate_and_score_completions`).
        """
        return self.accumulation % (self.completions // self.rows * self.iterations) != 0

    def planned_steps(self, args: dict[str, Any], rows: int) -> int:
        """The optimizer steps of a training on so many prompts: `max_steps`, or those that see each prompt
        `num_train_epochs` times; where these end amid a generation, or a step, all of it.
        """
        if args.get("max_steps", -1) > 0:
            return args["max_steps"]
        return math.ceil(math.ceil(rows * args.get("num_train_epochs", 1) / self.prompts) * self.steps)

    def generations(self, steps: int) -> int:
        """Generations that so many optimizer steps need."""
        return math.ceil(steps / self.steps)
