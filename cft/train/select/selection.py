"""Asks the model validation items while it trains, and keeps the adapter of the step that answers them best.

The items come from a task, their prompts and the decoding are the evaluation's, and the one grader grades them. Asking
leaves no trace in the training: weights, optimizer and random numbers are as if nobody had asked. A killed asking goes
on from its last finished batch, and no step is asked twice. Several processes share the batches of an asking
(`cft.train.select.validating`).
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback

from cft.devices import decoder_for, pick_device
from cft.errors import EvalError, Terminated, TrainError
from cft.files import content_id, read_json, read_own_jsonl, write_json, write_jsonl
from cft.models.generate import Completion, render
from cft.recipe.blocks import Recipe
from cft.runs import CURVE
from cft.terminal import Terminal, Text
from cft.train.loop import ranks
from cft.train.loop.asking import answering, random_numbers_kept
from cft.train.loop.delivery import save
from cft.train.select.choice import RULE, SHARDED, StoppedEarly, best_step, reason_to_stop, steps_to_ask
from cft.train.select.validating import LeftError, ValidationDecoding
from eval.answering.answers import BASE
from eval.answering.batched import Decoding
from eval.answering.run import arm_progress
from eval.answering.scoring import graded_rows
from eval.statistics.behaviour import traits
from eval.statistics.statistics import summarise
from eval.tasks.lm_tasks import Items, find_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cft.train.loop.progress import TrainProgress


def validation_items(recipe: Recipe, tokenizer: "PreTrainedTokenizerBase") -> Items:
    """The items that choose, with the prompts that the evaluation would give them.

    Raises:
        EvalError: they cannot be had, or items of eval.tasks are among them.
        TrainError: processes that share the weights train.
    """
    if ranks.sharded():
        raise TrainError(SHARDED)
    block, scored = recipe.train.select, recipe.eval
    with random_numbers_kept():
        task = find_task(block.task, scored, key="train.select.task", file=block.data)
        try:
            items = task.items(None, lambda messages: render(tokenizer, messages), block.limit)
        except EvalError as error:
            raise EvalError(str(error).replace(f"eval.data.{task.name}=", "train.select.data=")) from error
        for name in scored.tasks:
            _, tested = find_task(name, scored).load()
            refuse_shared(task.name, items.docs, name, list(tested.eval_docs))
    return items


def decoding_of(recipe: Recipe, items: Items, tokenizer: "PreTrainedTokenizerBase") -> Decoding:
    """How the items are answered: greedily, and within the evaluation's limits where `train.select` has none."""
    block = recipe.train.select
    return Decoding(
        max_new_tokens=block.max_new_tokens or recipe.eval.max_new_tokens,
        batch_size=block.batch_size or recipe.eval.batch_size,
        decoder=decoder_for(recipe.eval.decoder, pick_device()),
        stop_strings=items.stop_strings,
        special_tokens=not (items.chat and tokenizer.chat_template),
    )


def refuse_shared(validation: str, docs: list[dict], task: str, tested: list[dict]) -> None:
    """Raise EvalError where a test item stands among the validation items, whatever its spaces and capitals."""
    known = {_plain(doc["question"]) for doc in tested}
    shared = [doc["question"] for doc in docs if _plain(doc["question"]) in known]
    if shared:
        first = " ".join(shared[0].split())[:80]
        raise EvalError(
            f"train.select: {len(shared)} of {len(docs)} items of {validation} are test items of {task}, which must "
            f"not choose the step. First: {first!r}. Name another task, or in train.select.data a file without them."
        )


def _plain(question: str) -> str:
    return "".join(question.split()).casefold()


class SelectStep(TrainerCallback):
    """Asks after the steps of `train.select`, keeps the best adapter so far, and stops training where that is wiser.

    Writes into `folder`: step-N.jsonl, one graded answer an item; curve.json, the points and what came of them; and
    best-N, the adapter of the best step so far.
    """

    def __init__(
        self,
        trainer: Trainer,
        recipe: Recipe,
        items: Items,
        folder: Path,
        *,
        identity: Any,
        console: Terminal,
        progress: "TrainProgress",
        leave: Callable[[], bool],
    ) -> None:
        """
        Args:
            identity: JSON that decides the weights; the folder is emptied when it holds answers of others.
            leave: whether SIGTERM came, so that asking should end.

        Raises:
            TrainError: the weights are spread over devices, where this cannot ask.
        """
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise TrainError(SHARDED)
        self.trainer, self.items, self.folder, self.console = trainer, items, folder, console
        self.progress, self.leave = progress, leave
        self.tokenizer, self.block = trainer.processing_class, recipe.train.select
        self.decoding = decoding_of(recipe, items, self.tokenizer)
        self.points: list[dict[str, Any]] = []
        self.stopped: str | None = None  # why, if training stopped early
        self.owes = False  # whether SIGTERM left a step without its answers
        owner = content_id(identity, items.prompts, items.golds, vars(self.decoding))
        ranks.on_main(lambda: self._claim(owner))

    def _claim(self, owner: str) -> None:
        """Empty the folder if its answers are those of another training."""
        if (read_json(self.folder / "owner.json") or {}).get("id") != owner:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(self.folder / "owner.json", {"id": owner})

    @property
    def selected(self) -> int | None:
        """The best step so far."""
        return best_step(self.points, self.block.leak)

    @property
    def best(self) -> Path:
        """The adapter of the best step so far."""
        return self.folder / f"best-{self.selected}"

    def summary(self) -> dict[str, Any]:
        """What metrics.json and the model card say of the choice."""
        accuracy = {point["step"]: point["accuracy"] for point in self.points}
        summary = {"selected_step": self.selected, "validation_accuracy": round(accuracy[self.selected], 4)}
        if 0 in accuracy:
            summary["validation_accuracy_of_base"] = round(accuracy[0], 4)
        return summary | {"validation_task": self.items.task.config.task, "stopped_early": self.stopped or False}

    def on_train_begin(self, args, state, control, **kwargs):
        self.steps = steps_to_ask(self.block, state.max_steps)
        with answering(self.trainer.model, as_base=False) as model:  # whether every prompt leaves room for its answer
            ValidationDecoding(model, self.tokenizer, self.decoding, log=self.folder).prompt_lengths(self.items.prompts)
        try:
            past = [step for step in self.steps if step <= state.global_step]
            for step in [0, *past] if self.block.include_base else past:
                if step == state.global_step or self._path(step).is_file():
                    self._ask(step, now=state.global_step, last=state.max_steps)
        except LeftError:
            raise Terminated from None
        if self.stopped:
            raise StoppedEarly

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step not in self.steps:
            return
        try:
            self._ask(state.global_step, now=state.global_step, last=state.max_steps)
        except LeftError:
            self.owes = True
        if self.stopped:
            control.should_training_stop = True

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}.jsonl"

    def _ask(self, step: int, now: int, last: int) -> None:
        """Bring the answers of a step to their end, and draw the conclusions; the model is as after step `now`.

        Of several processes the main one grades and writes; all come to the same conclusions.
        """
        name, arm = self.items.task.config.task, BASE if step == 0 else f"step-{step}"
        kept = ranks.on_main(lambda: read_own_jsonl(self._path(step)))
        given = [Completion(row["response"], row["tokens"], row["finish_reason"]) for row in kept]
        given = given or self._answers(step)

        def grade() -> list[dict[str, Any]]:
            rows = graded_rows(name, arm, self.items, given)  # kept ones too: by the grader of today
            write_jsonl(self._path(step), rows)
            (self.folder / f"progress-{step}.jsonl").unlink(missing_ok=True)
            return rows

        rows = ranks.on_main(grade)
        self.points = [point for point in self.points if point["step"] != step] + [point_of(step, rows)]
        if step == now == self.selected:
            self._keep_best(step)
        why = reason_to_stop(self.points, self.block) if step < last else None
        self.stopped = why and f"after step {step} of {last}: {why}"
        if not kept or self.stopped:
            self._tell(step)
        if ranks.is_main():
            curve = {
                "task": name,
                "rule": RULE,
                "selected_step": self.selected,
                "last_step": last,
                "stopped_early": self.stopped or False,
                "max_new_tokens": self.decoding.max_new_tokens,
                "points": self.points,
            }
            write_json(self.folder / CURVE, curve)

    def _keep_best(self, step: int) -> None:
        """Write the adapter of the step that is the best so far, unless it stands; the earlier best one goes."""
        beside = self.folder / ".best.tmp"
        if ranks.on_main(lambda: not self.best.is_dir()):
            if ranks.is_main():
                shutil.rmtree(beside, ignore_errors=True)
            save(self.trainer, beside)
            if ranks.is_main():
                beside.rename(self.best)
        if ranks.is_main():
            for earlier in [point["step"] for point in self.points if point["step"] != step]:
                shutil.rmtree(self.folder / f"best-{earlier}", ignore_errors=True)

    def _answers(self, step: int) -> list[Completion]:
        log = self.folder / f"progress-{step}.jsonl"
        label = f"{self.items.task.config.task}, {f'after step {step}' if step else 'before training'}"
        with (
            self.progress.paused(),
            answering(self.trainer.model, as_base=step == 0) as model,
            arm_progress(label, len(self.items.prompts), self.console) as tick,
        ):

            def tick_or_leave(done: int, new_tokens: int) -> None:
                if self.leave():
                    raise LeftError
                tick(done, new_tokens)

            asking = ValidationDecoding(model, self.tokenizer, self.decoding, log=log, on_progress=tick_or_leave)
            return asking.answer(self.items.prompts)

    def _tell(self, step: int) -> None:
        point = self.points[-1]
        when = f"after step {step}" if step else "before training"
        leaked = f", {point['leaked']} pass a verdict" if point["leaked"] else ""
        best = "" if not step else ", the best so far" if step == self.selected else f"; best: step {self.selected}"
        self.console.print(f"validation {when}: {point['accuracy']:.1%} of {point['n']} right{leaked}{best}")
        if self.stopped:
            self.console.print(Text.assemble(("stopped early", "yellow"), f" {self.stopped}"))


def point_of(step: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What one asking found: shares as fractions, `leaked`, `truncated` and `no_box` as answers, `tokens` an answer."""
    summary = summarise(rows)
    return {
        "step": step,
        "accuracy": summary["accuracy"],
        "ci": summary["ci"],
        "n": summary["n"],
        "leaked": sum(bool(traits(row)["verdict"]) for row in rows),
        "truncated": summary["outcomes"]["truncated"],
        "no_box": summary["outcomes"]["no_answer"],
        "tokens": round(summary["tokens_per_answer"], 1),
    }
