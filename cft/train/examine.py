"""Before the first step of reinforcement learning: sample the base on the rows, say what it does, refuse or warn."""

from typing import Any

import torch
from transformers import TrainerCallback, TrainerState
from trl import GRPOTrainer

from cft.devices import random_numbers_forked
from cft.errors import TrainError
from cft.files import content_id, listed, write_json
from cft.models.decoding import Answers
from cft.models.generate import write
from cft.recipe.blocks import RuleReward
from cft.recipe.rl_checks import rollout_warnings
from cft.runs import SIGNAL, read_known
from cft.terminal import Text
from cft.train.job import Job
from cft.train.loop import ranks
from cft.train.loop.asking import answering
from cft.train.rollouts.rewards import reward_functions
from cft.train.rollouts.sampling import SEEDS_A_TRAINING, completion_row, is_ours, rounded_adapter, sample
from cft.train.rollouts.signal import check, measure, told, warnings
from cft.words import spread
from eval.grading import grade

SAMPLES, MOST_SAMPLES = 32, 64  # completions of a row, and of all rows


class SignalFirst(TrainerCallback):
    """Examines the base when all is set up; what was found stays in train/signal.json, for a start after a kill too."""

    def __init__(self, job: Job, trainer: GRPOTrainer) -> None:
        self.job, self.trainer = job, trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0 and not ranks.sharded() and (ranks.count() == 1 or is_ours(args)):
            ranks.on_main(lambda: examine(self.job, self.trainer))


def examine(job: Job, trainer: GRPOTrainer) -> None:
    """Sample, unless that was done, and say what was found.

    Raises:
        TrainError: nothing can be learnt (`cft.train.rollouts.signal.check`), or the grader cannot read a gold answer.
    """
    path, settings = job.folder / SIGNAL, content_id(job.settings)
    found = read_known(path) or {}
    if found.get("settings") != settings:
        rows = list({row["id"]: row for row in trainer.train_dataset}.values())
        check_golds(rows)
        with job.console.status("sampling the base"):
            samples, difference = sample_base(trainer, rows)
        found = {"settings": settings} | measure(samples, trainer.args.num_generations)
        found |= {"sampler_difference": difference, "completions": samples}
        write_json(path, found)
    job.console.print(told(found, trainer.args))
    check(found, trainer.args, job.source)
    for line in rollout_warnings(job.recipe.train) + warnings(found, trainer.args):
        job.console.print(Text.assemble(("  warning: ", "yellow"), f"{line}."))


def check_golds(rows: list[dict[str, Any]]) -> None:
    """Raise TrainError for a gold answer that no answer could be equal to."""
    unread = [row for row in rows if grade(row["answer"], r"\boxed{0}").outcome == "ungradable"]
    if unread:
        faults = listed([f"{row['problem']}: {row['answer']!r:.80}" for row in unread])
        raise TrainError(f"the grader cannot read the gold answer of\n  {faults}\nWrite it as the answer in a box.")


def sample_base(
    trainer: GRPOTrainer, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, float] | None]:
    """Completions with their rewards, as `cft.train.rollouts.signal.measure` takes them, and `sampler_difference`."""
    args, rows = trainer.args, spread(rows, MOST_SAMPLES)
    rows = [row for row in rows for _ in range(max(1, min(SAMPLES, MOST_SAMPLES // len(rows))))]
    prompts, completions, size = trainer._tokenize_prompts([row["prompt"] for row in rows])[0], [], 0
    while (size := len(completions)) < len(rows):
        part = prompts[size : size + args.generation_batch_size]
        if is_ours(args):
            completions += sample(trainer, part, draw=SEEDS_A_TRAINING // 2 + size)  # of no optimizer step
        else:
            with random_numbers_forked():
                completions += trainer._generate_single_turn(part, None, {}, args.num_generations)[0]
    texts = trainer.processing_class.batch_decode(completions, skip_special_tokens=True)
    columns = {key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "completion")}
    columns |= {"prompts": [row["prompt"] for row in rows], "completion_ids": completions}
    columns |= {"completions": [[{"role": "assistant", "content": text}] for text in texts]}
    columns |= {"trainer_state": TrainerState(global_step=-1)}  # before all steps, so that chance is not theirs
    rewards = [function(**columns) for function in trainer.reward_funcs]
    goal = RuleReward(kind="verdict" if "candidate" in rows[0] else "correct")
    passed = reward_functions([goal], args.seed)[0](**columns)
    samples = [
        completion_row(trainer, row, text, ids)
        | {
            "rewards": dict(zip(trainer.reward_func_names, values, strict=True)),
            "reward": sum(w * value for w, value in zip(trainer.reward_weights.tolist(), values, strict=True)),
            "passed": bool(right),
        }
        for row, text, ids, values, right in zip(
            rows, texts, completions, zip(*rewards, strict=True), passed, strict=True
        )
    ]
    return samples, sampler_difference(trainer, prompts[0], completions[0]) if is_ours(args) else None


def sampler_difference(trainer: GRPOTrainer, prompt: list[int], completion: list[int]) -> dict[str, float]:
    """How far a completion's log-probabilities lie apart, token by token, as the decoder and as the loss has them."""
    sampler: list[torch.Tensor] = []

    def written(logits: torch.Tensor) -> torch.Tensor:
        """Next tokens (B,): those of the completion, whatever logits (B, V)."""
        token = completion[min(len(sampler), len(completion) - 1)]
        sampler.append((logits[0].float() / trainer.temperature).log_softmax(-1)[token])
        return torch.full((len(logits),), token, device=logits.device)

    with answering(trainer.model, as_base=False) as model, rounded_adapter(trainer):
        write(model, Answers([prompt], len(completion), written), slots=1)
    ids = torch.tensor([prompt + completion], device=trainer.args.device)
    with torch.no_grad(), random_numbers_forked(), trainer.accelerator.autocast():
        trained, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, torch.ones_like(ids), len(completion)
        )
    off = (trained[0].float() - torch.stack(sampler[: len(completion)])).abs()
    return {"mean": off.mean().item(), "max": off.max().item()}
