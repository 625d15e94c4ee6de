"""What training on the model's own completions takes: completions, tokens, operations, memory. Loads no model.

How long completions are is known only when there are some: of this run, else they are taken to have EXPECTED of what
they may.
"""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from cft.models.architecture import Architecture
from cft.recipe.blocks import DistilTrain, Recipe
from cft.runs import ROLLOUTS, Run, read_rows
from cft.train.loop.fallback import Setting
from cft.train.rollouts.batches import RolloutBatches
from cft.words import number_of

EXPECTED = 0.6  # of max_completion_length, a guess
MEASURED_FILES = 4  # of the last generations of a run
LOGITS_OF_BOTH = 5  # tensors of logits at the peak of a distillation: two and a copy of each, and a gradient


@dataclass(frozen=True)
class Rollouts:
    """The completions of a training, and what is done with them."""

    batches: RolloutBatches
    prompts: int  # that are different
    steps: int  # optimizer steps
    prompt: float  # tokens of a prompt, on average
    hint: float  # tokens that only the teacher of a distillation sees, on average
    longest: float  # tokens of the longest prompt
    completion: float  # tokens of a completion, on average
    measured: bool  # whether that is known from completions of this run
    most: int  # max_completion_length
    teacher: bool  # whether each completion that is trained on is read by a teacher too
    reference: bool  # whether a reference model reads each generation

    @classmethod
    def of(cls, recipe: Recipe, args: dict[str, Any], rows: list[tuple[float, float]], run: Run) -> "Rollouts":
        """
        Args:
            args: of the training, over our defaults.
            rows: tokens of each row, (prompt, completion); of a critique the completion is what the teacher sees.
        """
        batches, teacher = RolloutBatches.of(args), isinstance(recipe.train, DistilTrain)
        prompts = [prompt + (0 if teacher else rest) for prompt, rest in rows]
        lengths = completion_lengths(run)
        return cls(
            batches=batches,
            prompts=len(rows),
            steps=batches.planned_steps(args, max(1, len(rows))),
            prompt=mean(prompts or [0]),
            hint=mean([rest for _, rest in rows] or [0]) if teacher else 0,
            longest=max(prompts, default=0),
            completion=mean(lengths) if lengths else EXPECTED * args["max_completion_length"],
            measured=bool(lengths),
            most=args["max_completion_length"],
            teacher=teacher,
            reference=bool(args.get("beta")),
        )

    @property
    def generations(self) -> int:
        return self.batches.generations(self.steps)

    @property
    def sampled(self) -> int:
        """Completions that are sampled."""
        return self.generations * self.batches.completions

    @property
    def trained(self) -> int:
        """Completions that are trained on; each counts as often as it is."""
        return self.steps * self.batches.rows * self.batches.accumulation

    @property
    def tokens_sampled(self) -> float:
        """Of all completions, and of the prompts, which are read once a group."""
        return self.sampled * (self.completion + self.prompt / self.batches.group)

    @property
    def tokens_trained(self) -> float:
        return self.trained * self.completion

    def flops(self, model: Architecture, *, recomputes: bool) -> float:
        """Floating-point operations of training: forward and backward, and what reads the completions beside."""
        prompt = self.prompt / self.sharers(self.batches.rows, recomputes=recomputes)
        read = model.forward_flops(prompt, self.completion)
        learnt = model.flops(prompt, self.completion, full=False, recomputes=recomputes)
        total = self.trained * learnt + self.sampled * (self.batches.clips + self.reference) * read
        if self.teacher:
            total += self.trained * model.forward_flops(self.prompt + self.hint, self.completion)
        return total

    def sharers(self, rows: int, *, recomputes: bool) -> int:
        """Rows of a micro-batch that share one reading of their prompt (`cft.train.rollouts.sampling`)."""
        one = 1 in (self.prompts, self.batches.prompts)  # else TRL mixes the prompts of a generation
        return rows if one and not recomputes and not self.teacher else 1

    def micro_batch(self, setting: Setting) -> list[tuple[float, float]]:
        """(prompt, completion) tokens of a row of the largest micro-batch, for `cft.plan.footprint`."""
        recomputes = setting.checkpointing != "none"
        return [(self.longest / self.sharers(setting.rows, recomputes=recomputes), self.most)]

    def logits(self, model: Architecture, rows: int, number: int) -> float:
        """Bytes of the logits of student and teacher, which TRL's distillation makes of a whole micro-batch."""
        return self.teacher * LOGITS_OF_BOTH * number * rows * self.most * model.vocab_size

    def about(self) -> tuple[str, str]:
        """The rollouts and the training in words."""
        of = number_of(self.prompts, "prompt")
        length = f"{self.completion:.0f} tokens each, " + ("as measured" if self.measured else "an estimate")
        times = self.trained / self.sampled
        sampled = f"{of}: {self.generations} x {self.batches.completions} completions sampled (~{length})"
        by = "; the teacher reads each too" if self.teacher else ""
        return sampled, f"{number_of(self.steps, 'step')} on them, each trained on {number_of(times, 'time')}{by}"


def completion_lengths(run: Run) -> list[int]:
    """Tokens of the completions that this run has sampled last; empty before it has."""
    files = sorted((run.train / ROLLOUTS).glob("step-*.jsonl"), key=lambda path: path.stat().st_mtime)
    rows = [row for path in files[-MEASURED_FILES:] for row in read_rows(path)]
    return [row["tokens"] for row in rows if isinstance(row.get("tokens"), int)]
