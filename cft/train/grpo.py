"""Reinforcement learning with verifiable rewards: rows, arguments, trainer; with TRL's GRPOTrainer and LoRA.

GRPO is section 4.1 of DeepSeekMath (arXiv 2402.03300); on one problem it is One-Shot-RLVR (arXiv 2504.20571). The
reference model of `beta` is the base with the adapter switched off. What is not about this method is in
`cft.train.job`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import pad

from cft.devices import pick_device
from cft.models.generate import render
from cft.models.load import load_tokenizer
from cft.models.source import resolve
from cft.recipe.blocks import Recipe
from cft.runs import ROLLOUTS
from cft.terminal import Terminal
from cft.train.examine import SignalFirst
from cft.train.job import Job, run, train_to_end
from cft.train.loop import ranks
from cft.train.loop.defaults import rollout_defaults
from cft.train.loop.fallback import Setting
from cft.train.loop.faults import judged, training_arguments
from cft.train.loop.progress import only_our_progress
from cft.train.loop.saving import AdapterSaving
from cft.train.loop.speed import training_attention
from cft.train.loop.trackers import reporting
from cft.train.loop.trainer import LongestBatchFirst, plain, try_batch
from cft.train.rollouts.batches import RolloutBatches
from cft.train.rollouts.prompts import data_set, prompt_rows
from cft.train.rollouts.rewards import reward_functions, texts
from cft.train.rollouts.sampling import (
    by_prompt,
    completion_log_probs,
    different_prompts,
    draw_of,
    is_ours,
    keep,
    multiple_of,
    reads_prompt_once,
    sample,
)
from cft.train.rollouts.server import check_server
from cft.train.rollouts.watch import WatchRollouts
from cft.train.sft import lora_config


@only_our_progress()
def train(recipe: Recipe, examples: Path, folder: Path, *, console: Terminal, tracker: str = "none") -> dict:
    """Train `folder`/adapter on rollouts for the prompts; arguments, files and errors as `cft.train.sft.train`.

    Writes beside that folder/rollouts/step-N.jsonl: the completions sampled after N optimizer steps, each with its
    rewards.
    """
    asked, device = recipe.train.args, pick_device()
    attention = training_attention(recipe.model, device, sharded=ranks.sharded())
    args = rollout_defaults(device, recipe.model.dtype, asked) | asked
    source, tokenizer = resolve(recipe.model), load_tokenizer(recipe.model)
    check_server(args, source)
    rows = prompt_rows(examples, tokenizer, args["max_completion_length"])
    return run(Job(recipe, examples, folder, console, tracker, source, tokenizer, rows, args, attention), fit)


def fit(job: Job, setting: Setting) -> Trainer:
    """Train from the newest checkpoint, or from the start, to the last step."""
    recipe = job.recipe
    weights = [reward.weight for reward in recipe.train.rewards]
    args, prompts = set_up(job, setting, GRPOConfig, reward_weights=weights)
    if job.tokenizer.chat_template is None:
        prompts = [row | {"prompt": render(job.tokenizer, row["prompt"])} for row in prompts]
    rows = data_set(prompts)
    with judged({"lora": recipe.train.lora, "args": recipe.train.args}):
        trainer = RolloutTrainer(
            model=job.load_base(setting),
            args=args,
            processing_class=job.tokenizer,
            peft_config=lora_config(job),
            train_dataset=rows,
            reward_funcs=reward_functions(recipe.train.rewards, recipe.seed),
        )
    trainer.rollouts = job.folder / ROLLOUTS
    for callback in (LongestBatchFirst(trainer), SignalFirst(job, trainer), WatchRollouts(job.console)):
        trainer.add_callback(callback)
    return train_to_end(job, setting, trainer)


def set_up(
    job: Job, setting: Setting, config: type[TrainingArguments], **more: Any
) -> tuple[TrainingArguments, list[dict[str, Any]]]:
    """The configuration of a trainer that samples its completions, and the prompts in the order in which it takes them.

    Args:
        more: keys of the configuration beside those of the recipe.
    """
    batches, save = RolloutBatches.of(job.args), job.args.get("save_steps", 0.05)
    steps = batches.planned_steps(job.args, len(job.rows.rows))
    if save < 1:  # a share of all steps
        save = max(1, round(save * steps / batches.every)) * batches.every
    keys = job.args | batches.args | {"steps_per_generation": None, "max_steps": steps, "save_steps": save} | more
    keys |= (setting.args if setting != job.setting else {}) | reporting(job.tracker, job.folder)
    keys["gradient_accumulation_steps"] = ranks.share_of(setting.accumulation, setting.rows)
    prompts = job.rows.in_order(batches.generations(steps) * batches.prompts, job.recipe.seed)
    return training_arguments(keys, job.recipe.seed, job.checkpoints, config), prompts


class RolloutTrainer(AdapterSaving, GRPOTrainer):
    """GRPOTrainer with the rollouts and log-probabilities of `cft.train.rollouts.sampling`; it keeps them in files."""

    rollouts: Path  # folder of the files
    sampled: Sequence[dict[str, Any]] = ()  # rows of the newest file

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.pad_to_multiple_of = self.pad_to_multiple_of or multiple_of(self.args)
        self.reads_prompt_once = reads_prompt_once(plain(self.model), self.args)

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, **more):
        if not is_ours(self.args):
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, **more)
        return sample(self, prompt_ids, draw=draw_of(self)), None

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **more
    ):
        """Log-probabilities and entropies (B, T) of completions of T = `logits_to_keep` tokens."""
        prompts = by_prompt(input_ids[:, :-logits_to_keep], attention_mask[:, :-logits_to_keep])
        several = len(prompts) > max(1, len(input_ids) // 2)  # passes of a row each use the processor badly
        if several or not self.reads_prompt_once or more.get("compute_aux_loss"):
            arguments = input_ids, attention_mask, logits_to_keep, batch_size
            return super()._get_per_token_logps_and_entropies(model, *arguments, **more)
        completions, masks = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        parts = [(prompt, part) for prompt, rows in prompts for part in rows.split(batch_size or len(rows))]
        results = [
            completion_log_probs(
                self, prompt, completions[rows], masks[rows], entropy_trains=self._entropy_bonus_enabled
            )
            for prompt, rows in parts
        ]
        order = torch.cat([rows for _, rows in parts]).argsort()
        log_probs, entropies = (torch.cat(tensors)[order] for tensors in zip(*results, strict=True))
        return log_probs, entropies, None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """Rewards (N, functions) of all processes' completions, which are written to a file with them."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        sums = (rewards.cpu() * self.reward_weights.cpu()).sum(1).tolist()
        by_name = dict(zip(self.reward_func_names, rewards.T.tolist(), strict=True))
        keep(self, inputs, texts(completions), completion_ids_list, by_name, sums)
        return rewards

    def try_longest_batch(self) -> None:
        """One forward and backward of a micro-batch of the longest completions there can be; nothing changes."""
        args, rows, length = self.args, self.args.per_device_train_batch_size, self.args.max_completion_length
        different = set(map(tuple, self._tokenize_prompts(different_prompts(self))[0]))
        longest = sorted(different, key=len)[-(args.generation_batch_size // args.num_generations) :]  # of a generation
        prompts = [torch.tensor(longest[-1 - number % len(longest)]) for number in range(rows)]
        ids = pad(prompts, self.processing_class.pad_token_id, padding_side="left")
        batch = {
            "prompt_ids": ids,
            "prompt_mask": pad([torch.ones_like(prompt) for prompt in prompts], 0, padding_side="left"),
            "completion_ids": ids[:, -1:].repeat(1, length),
            "completion_mask": torch.ones(rows, length, dtype=torch.long),
            "advantages": torch.ones(rows),
            "num_items_in_batch": torch.tensor(rows * length),
            "ref_per_token_logps": torch.zeros(rows, length),
        }
        try_batch(self, batch)
