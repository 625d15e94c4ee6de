"""One side of evaluation.py, in a process of its own: answers the first items and writes texts and seconds.

    python -m benchmarks.answer ours|lm_eval FOLDER LIMIT MAX_NEW_TOKENS BATCH_SIZE OUT

BATCH_SIZE is for our side only; lm_eval keeps its default.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cft.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TASK = "cft_wordproblems_validation"
DTYPE = "bfloat16"


def ours(folder: str, limit: int, max_new_tokens: int, batch_size: int, out: Path) -> None:
    """Time `BatchedDecoding.answer` on the prompts of the base arm."""
    from cft.devices import share_cores

    share_cores()  # as the command does
    from cft.models.generate import render
    from cft.models.load import load_model, load_tokenizer
    from cft.recipe.blocks import EvalBlock, ModelBlock
    from eval.answering.batched import BatchedDecoding, Decoding
    from eval.tasks.lm_tasks import find_task

    block = ModelBlock(id=folder, dtype=DTYPE)
    tokenizer, model = load_tokenizer(block), load_model(block)
    items = find_task(TASK, EvalBlock(tasks=[TASK])).items(None, partial(render, tokenizer), limit)
    log = out.with_suffix(".log.jsonl")
    decoding = Decoding(max_new_tokens=max_new_tokens, batch_size=batch_size)
    answering = BatchedDecoding(model, tokenizer, decoding, log=log)
    start = time.perf_counter()
    completions = answering.answer(items.prompts)
    seconds = time.perf_counter() - start
    write_answers(out, seconds, tokenizer, items.prompts, items.golds, [completion.text for completion in completions])


def plain(folder: str, limit: int, max_new_tokens: int, _: int, out: Path) -> None:
    """Run the `lm_eval` command with a clock around `HFLM.generate_until`."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.models.huggingface import HFLM

    from eval.tasks.lm_tasks import TASKS_FOLDER

    generate_until = HFLM.generate_until

    def timed(self, requests, *args, **kwargs):
        start = time.perf_counter()
        texts = generate_until(self, requests, *args, **kwargs)
        seconds = time.perf_counter() - start
        prompts, golds = [r.args[0] for r in requests], [r.doc["answer"] for r in requests]
        write_answers(out, seconds, self.tokenizer, prompts, golds, texts)
        return texts

    HFLM.generate_until = timed
    sys.argv = ["lm_eval", "--model", "hf", "--model_args", f"pretrained={folder},dtype={DTYPE}"]
    sys.argv += ["--include_path", str(TASKS_FOLDER), "--tasks", TASK, "--apply_chat_template"]
    sys.argv += ["--limit", str(limit), "--gen_kwargs", f"max_gen_toks={max_new_tokens}"]
    cli_evaluate()


def write_answers(
    out: Path,
    seconds: float,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[str],
    golds: list[str],
    texts: list[str],
) -> None:
    """Write all that is compared. Tokens are those of the texts, so that both sides count alike."""
    from eval.grading import grade

    tokens = sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    correct = sum(grade(gold, text).outcome == "correct" for gold, text in zip(golds, texts, strict=True))
    value = {"seconds": seconds, "tokens": tokens, "correct": correct, "prompts": prompts, "texts": texts}
    write_json(out, value)


if __name__ == "__main__":
    side, folder, *numbers, out = sys.argv[1:]
    answer = ours if side == "ours" else plain
    answer(folder, *map(int, numbers), Path(out))
