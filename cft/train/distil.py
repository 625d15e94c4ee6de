"""Self-distillation with the critiques: the model that sees one teaches the model that does not, on its own answers.

The student answers the prompt of a row; the teacher, which is the base with the adapter switched off, reads the row's
critique too, and says how likely it finds each token of that answer. SDFT is arXiv 2601.19897; SDPO, arXiv 2601.20802,
shows the teacher a right answer of the same group beside the critique. TRL's experimental trainers compute the losses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import Trainer
from trl.experimental.sdft import SDFTTrainer
from trl.experimental.sdpo import SDPOTrainer

from cft.devices import pick_device
from cft.models.generate import prompt_ids
from cft.models.load import load_tokenizer
from cft.models.source import resolve
from cft.recipe.blocks import Recipe, RuleReward
from cft.runs import ROLLOUTS
from cft.terminal import Terminal
from cft.train.grpo import set_up
from cft.train.job import Job, run, train_to_end
from cft.train.loop import ranks
from cft.train.loop.fallback import Setting
from cft.train.loop.faults import judged
from cft.train.loop.progress import only_our_progress
from cft.train.loop.saving import AdapterSaving
from cft.train.loop.speed import training_attention
from cft.train.loop.trainer import LongestBatchFirst, try_batch
from cft.train.rollouts.prompts import data_set
from cft.train.rollouts.rewards import RewardFunction, reward_functions
from cft.train.rollouts.sampling import different_prompts, draw_of, in_few_lengths, is_ours, keep, multiple_of, sample
from cft.train.rollouts.taught import CONFIGS, arguments, taught_rows
from cft.train.rollouts.watch import WatchRollouts
from cft.train.sft import lora_config


@only_our_progress()
def train(recipe: Recipe, examples: Path, folder: Path, *, console: Terminal, tracker: str = "none") -> dict:
    """Train `folder`/adapter on answers to the prompts; arguments, files and errors as `cft.train.sft.train`.

    Writes beside that folder/rollouts/step-N.jsonl: the answers sampled after N optimizer steps.
    """
    attention = training_attention(recipe.model, pick_device(), sharded=ranks.sharded())
    args = arguments(recipe)
    source, tokenizer = resolve(recipe.model), load_tokenizer(recipe.model)
    rows = taught_rows(examples, tokenizer, recipe.train.method, args)
    console.print(
        "{rows} rows, the longest teacher prompt with its answer {longest_tokens} tokens".format(**rows.summary())
    )
    return run(Job(recipe, examples, folder, console, tracker, source, tokenizer, rows, args, attention), fit)


def fit(job: Job, setting: Setting) -> Trainer:
    """Train from the newest checkpoint, or from the start, to the last step."""
    recipe = job.recipe
    args, prompts = set_up(job, setting, CONFIGS[recipe.train.method])
    rows = data_set(prompts)
    (correct,) = reward_functions([RuleReward(kind="correct")], recipe.seed)
    graded = {"reward_funcs": [correct]} if recipe.train.method == "sdpo" else {}
    with judged({"lora": recipe.train.lora, "args": recipe.train.args}):
        trainer = TRAINERS[recipe.train.method](
            model=job.load_base(setting),
            args=args,
            processing_class=job.tokenizer,
            peft_config=lora_config(job),
            train_dataset=rows,
            **graded,
        )
    trainer.rollouts, trainer.longest = job.folder / ROLLOUTS, job.rows.summary()["longest_tokens"]
    trainer.correct = correct if all(row.get("answer") is not None for row in job.rows.rows) else None
    for callback in (LongestBatchFirst(trainer), WatchRollouts(job.console)):
        trainer.add_callback(callback)
    return train_to_end(job, setting, trainer)


class Teaching(AdapterSaving):
    """To stand before a trainer of TRL: our prompts and sampling, files of the answers, batches of few lengths."""

    rollouts: Path  # folder of the files
    sampled: Sequence[dict[str, Any]] = ()  # rows of the newest file
    correct: RewardFunction | None  # grades the answers
    longest: int  # tokens of a teacher's prompt and answer, at most

    def _tokenize_prompts_untruncated(self, prompts: list[list[dict[str, str]]]) -> list[list[int]]:
        """Token ids of prompts, the student's or the teacher's, as the evaluation writes them; whole."""
        return prompt_ids(self._tokenizer, prompts)

    _tokenize_prompts = _tokenize_prompts_untruncated

    def _generate_transformers(self, prompt_ids: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
        if not is_ours(self.args):
            return super()._generate_transformers(prompt_ids)
        return prompt_ids, sample(self, prompt_ids, draw=draw_of(self))

    def sample_rollouts(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Sample the student's answers; grade, write and count them."""
        batch = super().sample_rollouts(inputs)
        ids = self._get_completion_ids_list(batch)
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        grades = [None] * len(ids)
        if self.correct:
            answers = [[{"role": "assistant", "content": text}] for text in texts]
            grades = self.correct(completions=answers, **{key: [row[key] for row in inputs] for key in inputs[0]})
        grades = gather_object(grades)
        keep(self, inputs, texts, ids, {"correct": grades} if self.correct else {}, grades)
        for key in ("reward", "rewards/correct/mean") if self.correct else ():
            self._metrics["train"][key].append(sum(grades) / len(grades))
        tokens = batch["prompt_mask"].sum() + batch["raw_completion_lengths"].sum()
        self.state.num_input_tokens_seen += int(self.accelerator.gather(tokens).sum())
        return batch

    def _compute_rollout_logps(self, **batch: torch.Tensor) -> torch.Tensor | None:
        """As TRL does, but a micro-batch at a time: the logits of a whole generation may be gigabytes."""
        parts, compute = [], super()._compute_rollout_logps
        for tensors in zip(*(one.split(self.args.per_device_train_batch_size) for one in batch.values()), strict=True):
            parts.append(compute(**dict(zip(batch, tensors, strict=True))))
        return None if parts[0] is None else torch.cat(parts)

    def _prepare_inputs(self, generation_batch):
        return in_few_lengths(super()._prepare_inputs(generation_batch), multiple_of(self.args) or 1)

    def try_longest_batch(self) -> None:
        """One forward and backward of a micro-batch of the longest answers there can be; nothing changes."""
        rows, width = self.args.per_device_train_batch_size, self.args.max_completion_length
        prompt = max(map(len, self._tokenize_prompts(different_prompts(self))))
        token = self._tokenizer.eos_token_id
        batch = {"self_distillation_mask": torch.ones(rows), "advantages": torch.ones(rows)}
        for name, length in (("prompt", prompt), ("completion", width)):
            batch |= {f"{name}_ids": torch.full((rows, length), token), f"{name}_mask": torch.ones(rows, length).long()}
        taught = torch.full((rows, self.longest), token)
        batch |= {"teacher_input_ids": taught, "teacher_attention_mask": torch.ones_like(taught)}
        try_batch(self, in_few_lengths(batch, multiple_of(self.args) or 1))


class SdftTeaching(Teaching, SDFTTrainer):
    """SDFT, taught here."""


class SdpoTeaching(Teaching, SDPOTrainer):
    """SDPO, taught here."""


TRAINERS = {"sdft": SdftTeaching, "sdpo": SdpoTeaching}
