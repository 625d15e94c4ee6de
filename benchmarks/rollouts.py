"""Completions a second: our rollouts against TRL's plain GRPOTrainer, for one prompt; and whole optimizer steps.

Both trainers are in this process and take turns, with the same model, LoRA adapter and arguments. TRL's samples with
`GenerationMixin.generate`. Which part of a step takes how long is said too. See benchmarks/README.md.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.answer import DTYPE
from benchmarks.common import CORES, busy_processes, console, machine, model_folder, report, summarise
from cft.devices import pick_device, share_cores
from data_builders.problems import load_problem
from data_builders.prompts import messages, solve_prompt

if TYPE_CHECKING:
    from trl import GRPOTrainer

OURS, TRL = "cft grpo", "trl grpo"
MICRO_BATCH = 8  # completions whose loss is computed at a time
SPEEDS = ["completions_per_second", "tokens_per_second", "steps_per_hour"]


def main(
    completions: Annotated[int, typer.Option(help="Of a generation and of a step, a multiple of 8.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a completion.")] = 256,
    problem: Annotated[str, typer.Option(help="A name in recipes/problems, or a file.")] = "bakery",
    model: Annotated[str, typer.Option(help="A name of `cft models`, or a folder.")] = "qwen2.5-coder-0.5b",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; in each, both make one optimizer step.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of an operation.")] = CORES,
    busy: Annotated[int, typer.Option(min=0, help="Other processes that compute all the while.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="File for the result.")] = None,
) -> None:
    """Measure our rollouts against TRL's."""
    if completions < MICRO_BATCH or completions % MICRO_BATCH:
        raise SystemExit(f"--completions {completions}: is no multiple of {MICRO_BATCH}, those of a micro-batch.")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is loaded
    share_cores()  # as the command does
    with tempfile.TemporaryDirectory(prefix="cft-benchmark-") as name, busy_processes(busy):
        folder = Path(name)
        location = model_folder(model, folder / "model")
        prompt = messages(solve_prompt(load_problem(problem).question))
        sides = make_trainers(location, prompt, completions, max_new_tokens, folder)
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(repeats):
            rounds.append({})
            for side, trainer in sides.items():
                console.print(f"round {number + 1} of {repeats}: {side}", highlight=False)
                rounds[-1][side] = measure(trainer, seed=number, casts=side == TRL)
            console.print({side: measured["tokens_per_second"] for side, measured in rounds[-1].items()})

    result = {
        "benchmark": "rollouts",
        "machine": machine(threads),
        "model": Path(model).name,
        "dtype": DTYPE,
        "problem": problem,
        "completions": completions,
        "max_new_tokens": max_new_tokens,
        "busy_processes": busy,
        **summarise(rounds, SPEEDS),
    }
    title = f"{Path(model).name}: {completions} completions of at most {max_new_tokens} tokens, {threads} thread(s)"
    report(title, result, out)


def make_trainers(
    location: str, prompt: list[dict[str, str]], completions: int, max_new_tokens: int, folder: Path
) -> dict[str, "GRPOTrainer"]:
    """Both sides' trainers, each on weights of its own, ours first.

    Their learning rate is 0, so that all rounds sample from the same model.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    from cft.models.load import load_model, load_tokenizer
    from cft.recipe.blocks import ModelBlock
    from cft.train.grpo import RolloutTrainer
    from cft.train.loop.defaults import LORA

    block, on_cpu = ModelBlock(id=location, dtype=DTYPE), pick_device() == "cpu"
    trainers = {}
    for side, kind in ((OURS, RolloutTrainer), (TRL, GRPOTrainer)):
        trainers[side] = kind(
            model=load_model(block),
            processing_class=load_tokenizer(block),
            train_dataset=Dataset.from_list([{"id": "prompt", "prompt": prompt}]),
            reward_funcs=half,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **LORA),
            args=GRPOConfig(
                output_dir=str(folder / side),
                learning_rate=0.0,
                max_steps=1,
                per_device_train_batch_size=MICRO_BATCH,
                gradient_accumulation_steps=completions // MICRO_BATCH,
                num_generations=completions,
                max_completion_length=max_new_tokens,
                bf16=DTYPE == "bfloat16",
                use_cpu=on_cpu,
                gradient_checkpointing=not on_cpu,  # TRL's default is on, which costs it time
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
        )
        trainers[side].remove_callback(PrinterCallback)
    trainers[OURS].rollouts = folder / "rollouts"
    return trainers


def half(completions: list, **_: Any) -> list[float]:
    """A reward that costs nothing and gives every group a signal: 1 for every other completion."""
    return [float(number % 2) for number in range(len(completions))]


def measure(trainer: "GRPOTrainer", *, seed: int, casts: bool) -> dict[str, float]:
    """One optimizer step: what it took, and its rollouts alone. The rest is the loss, forward and backward.

    Args:
        casts: PEFT's own casts are on, which autocast makes needless and `cft.train.job.train_to_end` leaves out.
    """
    from transformers import set_seed

    from cft.train.loop.asking import casting_inputs

    trainer.args.seed = seed  # ours draws with it, TRL's with the global one
    set_seed(seed)
    rollouts = Rollouts(type(trainer)._generate_single_turn)
    trainer._generate_single_turn = lambda *arguments: rollouts(trainer, *arguments)
    begun = time.process_time()
    with casting_inputs(trainer.model, casts):
        step = trainer.train().metrics["train_runtime"]
    cpu = time.process_time() - begun
    tokens = sum(rollouts.lengths)
    return {
        "completions_per_second": round(len(rollouts.lengths) / rollouts.seconds, 4),
        "tokens_per_second": round(tokens / rollouts.seconds, 2),
        "steps_per_hour": round(3600 / step, 2),
        "step_seconds": round(step, 3),
        "rollout_seconds": round(rollouts.seconds, 3),
        "rollout_share": round(rollouts.seconds / step, 3),
        "loss_seconds": round(step - rollouts.seconds, 3),
        "rollout_cpu_seconds": round(rollouts.cpu_seconds, 2),  # of all threads; what else runs hardly changes it
        "loss_cpu_seconds": round(cpu - rollouts.cpu_seconds, 2),
        "tokens": tokens,
        "longest": max(rollouts.lengths),
    }


class Rollouts:
    """A trainer's own sampling with a clock around it."""

    def __init__(self, sample: Callable[..., tuple[list[list[int]], Any]]) -> None:
        self.sample, self.seconds, self.cpu_seconds = sample, 0.0, 0.0
        self.lengths: list[int] = []  # tokens of each completion, the end of sequence with them

    def __call__(self, *arguments: Any) -> tuple[list[list[int]], Any]:
        start, cpu = time.perf_counter(), time.process_time()
        completions, log_probs = self.sample(*arguments)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        self.lengths += map(len, completions)
        return completions, log_probs


if __name__ == "__main__":
    typer.run(main)
