"""One side of a race of answers, in a process of its own: answers the first items and writes texts and seconds.

    python -m benchmarks.answer SIDE FOLDER LIMIT MAX_NEW_TOKENS BATCH_SIZE OUT [URL]

SIDE is ours (as `cft eval` does it), one of our decoders by its name, lm_eval (which keeps its default batch size, 1),
or vllm (a server of this model at URL, such as http://localhost:8000/v1).
"""

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TASK = "cft_wordproblems_validation"
DTYPE = "bfloat16"


def main(side: str, folder: str, limit: int, max_new_tokens: int, batch_size: int, out: Path, url: str = "") -> None:
    """Answer on one side; the clock runs while answers are made, not while a model is loaded."""
    if side == "lm_eval":
        return plain(folder, limit, max_new_tokens, out)
    from cft.devices import share_cores

    share_cores()  # as the command does
    from cft.models import generate
    from cft.models.load import load_model, load_tokenizer
    from cft.recipe.blocks import EvalBlock, ModelBlock
    from eval.tasks.lm_tasks import find_task

    block = ModelBlock(id=folder, dtype=DTYPE)
    tokenizer = load_tokenizer(block)
    items = find_task(TASK, EvalBlock(tasks=[TASK])).items(None, partial(generate.render, tokenizer), limit)
    if side == "vllm":
        decode = partial(served, url)
    elif side == "ours":
        decode = partial(as_eval_does, load_model(block), out.with_suffix(".log.jsonl"))
    else:
        model = load_model(block)
        if side == "graphs" and (fault := generate.graphs_fault(model)):  # `generate` would take another one
            raise SystemExit(f"the decoder graphs cannot be used here: {fault}")
        decode = partial(by_decoder, model, side)
    start = time.perf_counter()
    texts = decode(tokenizer, items.prompts, max_new_tokens, batch_size)
    write_answers(out, time.perf_counter() - start, tokenizer, items.prompts, items.golds, texts)


def as_eval_does(model: "PreTrainedModel", log: Path, tokenizer: "PreTrainedTokenizerBase", *asked: Any) -> list[str]:
    """`BatchedDecoding.answer`, its log included, with the decoder of this device."""
    from cft.devices import decoder_for
    from eval.answering.batched import BatchedDecoding, Decoding

    prompts, max_new_tokens, batch_size = asked
    decoder = decoder_for("auto", model.device.type)
    decoding = Decoding(max_new_tokens=max_new_tokens, batch_size=batch_size, decoder=decoder)
    return [completion.text for completion in BatchedDecoding(model, tokenizer, decoding, log=log).answer(prompts)]


def by_decoder(model: "PreTrainedModel", name: str, tokenizer: "PreTrainedTokenizerBase", *asked: Any) -> list[str]:
    """`cft.models.generate.generate` with the decoder `name`."""
    from cft.models.generate import generate

    prompts, max_new_tokens, slots = asked
    answers = generate(model, tokenizer, prompts, max_new_tokens=max_new_tokens, decoder=name, slots=slots)
    return [completion.text for completion in answers]


def decoders() -> list[str]:
    """Our sides: the names of our decoders."""
    from cft.models.generate import DECODERS

    return list(DECODERS)


def served(url: str, tokenizer: "PreTrainedTokenizerBase", *asked: Any) -> list[str]:
    """A server's answers to the same texts, a batch of them in flight."""
    import openai

    prompts, max_new_tokens, batch_size = asked

    async def ask_all() -> list[str]:
        gate = asyncio.Semaphore(batch_size)
        async with openai.AsyncOpenAI(base_url=url, api_key="none", timeout=600) as client:
            name = (await client.models.list()).data[0].id

            async def ask(prompt: str) -> str:
                async with gate:
                    done = await client.completions.create(
                        model=name, prompt=prompt, max_tokens=max_new_tokens, temperature=0
                    )
                    return done.choices[0].text

            return await asyncio.gather(*map(ask, prompts))

    return asyncio.run(ask_all())


def plain(folder: str, limit: int, max_new_tokens: int, out: Path) -> None:
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
    """Write all that is compared. Tokens are those of the texts, so that all sides count alike."""
    from cft.memory import peak_memory_mb
    from eval.grading import grade

    tokens = sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    correct = sum(grade(gold, text).outcome == "correct" for gold, text in zip(golds, texts, strict=True))
    value = {"seconds": seconds, "tokens": tokens, "correct": correct, "prompts": prompts, "texts": texts}
    write_json(out, value | {"peak_memory_mb": peak_memory_mb()})


if __name__ == "__main__":
    side, folder, limit, tokens, batch, out, *url = sys.argv[1:]
    main(side, folder, int(limit), int(tokens), int(batch), Path(out), *url)
