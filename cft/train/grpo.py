"""Reinforcement learning with verifiable rewards: rows, arguments, trainer; with TRL's GRPOTrainer and LoRA.

GRPO is section 4.1 of DeepSeekMath (arXiv 2402.03300); on one problem it is One-Shot-RLVR (arXiv 2504.20571). The
reference model of `beta` is the base with the adapter switched off. What is not about this method is in
`cft.train.job`.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from cft.devices import pick_device, random_numbers_forked
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
from cft.train.loop.head import is_plain_frozen_head
from cft.train.loop.progress import only_our_progress
from cft.train.loop.saving import AdapterSaving
from cft.train.loop.speed import training_attention
from cft.train.loop.trackers import reporting
from cft.train.loop.trainer import LongestBatchFirst, plain
from cft.train.rollouts.batches import RolloutBatches
from cft.train.rollouts.prompts import data_set, prompt_rows
from cft.train.rollouts.rewards import reward_functions
from cft.train.rollouts.sampling import (
    completion_log_probs,
    draw_of,
    is_ours,
    keep,
    reads_prompt_once,
    sample,
    shared_prompt,
    texts,
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
    batches = RolloutBatches.of(job.args)
    keys = job.args | batch_arguments(batches, job.args, len(job.rows.rows))
    keys |= (setting.args if setting != job.setting else {}) | reporting(job.tracker, job.folder)
    keys["gradient_accumulation_steps"] = ranks.share_of(setting.accumulation, setting.rows)
    keys["reward_weights"] = [reward.weight for reward in recipe.train.rewards]
    args = training_arguments(keys, recipe.seed, job.checkpoints, GRPOConfig)
    prompts = job.rows.in_order(batches.generations(args.max_steps) * batches.prompts, recipe.seed)
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
    trainer.rollouts, trainer.steps_a_generation = job.folder / ROLLOUTS, max(1, round(batches.steps))
    for callback in (LongestBatchFirst(trainer), SignalFirst(job, trainer), WatchRollouts(job.console)):
        trainer.add_callback(callback)
    return train_to_end(job, setting, trainer)


def batch_arguments(batches: RolloutBatches, args: dict[str, Any], rows: int) -> dict[str, Any]:
    """The keys of a configuration that say how many completions are sampled, and when training is saved.

    Args:
        args: of the recipe, over our defaults.
        rows: prompts to train on.
    """
    steps, last = batches.steps, batches.planned_steps(args, rows)
    every, save = max(1, round(steps)), args.get("save_steps", 0.05)
    save = save if save >= 1 else max(1, round(save * last / every)) * every  # below 1: a share of all steps
    return batches.args | {"steps_per_generation": None, "max_steps": last, "save_steps": save}


class RolloutTrainer(AdapterSaving, GRPOTrainer):
    """GRPOTrainer with the rollouts and log-probabilities of `cft.train.rollouts.sampling`; it keeps them in files."""

    rollouts: Path  # folder of the files
    steps_a_generation: int  # optimizer steps that train on the same completions

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.sampled: list[dict[str, Any]] = []  # rows of the newest file
        self.reads_prompt_once = (
            reads_prompt_once(plain(self.model), self.args)
            and self.accelerator.num_processes == 1
            and is_plain_frozen_head(plain(self.model))
        )

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, **more):
        if not is_ours(self.args):
            return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, **more)
        return sample(self, prompt_ids, draw=draw_of(self)), None

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **more
    ):
        """Log-probabilities and entropies (B, T) of completions of T = `logits_to_keep` tokens."""
        prompt = shared_prompt(input_ids[:, :-logits_to_keep], attention_mask[:, :-logits_to_keep])
        if prompt is None or not self.reads_prompt_once or more.get("compute_aux_loss"):
            arguments = input_ids, attention_mask, logits_to_keep, batch_size
            return super()._get_per_token_logps_and_entropies(model, *arguments, **more)
        size = batch_size or len(input_ids)
        completions, masks = (both[:, -logits_to_keep:].split(size) for both in (input_ids, attention_mask))
        results = [
            completion_log_probs(self, prompt, ids, mask, entropy_trains=self._entropy_bonus_enabled)
            for ids, mask in zip(completions, masks, strict=True)
        ]
        log_probs, entropies = (torch.cat(tensors) for tensors in zip(*results, strict=True))
        return log_probs, entropies, None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """Rewards (N, functions) of all processes' completions, which are written to a file with them."""
        written = texts(completions)
        messages = [[{"role": "assistant", "content": text}] for text in written]
        rewards = super()._calculate_rewards(inputs, prompts, messages, completion_ids_list)
        sums = (rewards.cpu() * self.reward_weights.cpu()).nansum(1).tolist()
        by_name = dict(zip(self.reward_func_names, rewards.T.tolist(), strict=True))
        keep(self, inputs, written, completion_ids_list, by_name, sums)
        return rewards

    def try_longest_batch(self) -> None:
        """One forward and backward of a micro-batch of the longest completions there can be; nothing changes."""
        rows, length = self.args.per_device_train_batch_size, self.args.max_completion_length
        prompt = max(self._tokenize_prompts(list(self.train_dataset["prompt"]))[0], key=len)
        ids = torch.tensor([prompt] * rows, device=self.args.device)
        completions = ids[:, -1:].repeat(1, length)
        blank = torch.zeros(rows, length, device=self.args.device)
        batch = {
            "prompt_ids": ids,
            "prompt_mask": torch.ones_like(ids),
            "completion_ids": completions,
            "completion_mask": torch.ones_like(completions),
            "advantages": torch.ones(rows, device=self.args.device),
            "num_items_in_batch": torch.tensor(rows * length, device=self.args.device),
            "ref_per_token_logps": blank,
        }
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        with random_numbers_forked():
            self.accelerator.backward(self.compute_loss(self.model_wrapped, batch))
        self.model_wrapped.zero_grad()
        self._metrics["train"].clear()
