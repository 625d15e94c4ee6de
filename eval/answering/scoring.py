"""Graded rows of an arm's answers, and lm-eval's own score of the same answers."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cft.errors import EvalError
from cft.models.generate import Completion
from cft.runs import versions
from eval.answering.answerers import Answerer
from eval.answering.lm import AnsweredLM
from eval.grading import same_answer_groups
from eval.tasks.lm_tasks import Items, quiet
from eval.tasks.tools.environment import with_tools
from eval.tasks.tools.score import normal


def graded_rows(task: str, arm: str, items: Items, completions: list[Completion]) -> list[dict[str, Any]]:
    """The rows of `answers.jsonl`: the samples of the first item, of the second ...

    An answer that hit the limit without a complete box is `truncated`. `same_as` is the first sample of the item with
    an equal answer, and with tools the same end state of the files: the votes of maj@k.
    """
    rows = []
    samples = len(completions) // len(items.docs)
    for doc_id, (doc, gold, prompt) in enumerate(zip(items.docs, items.golds, items.prompts, strict=True)):
        given = completions[doc_id * samples : (doc_id + 1) * samples]
        grades = [items.score(doc_id, completion) for completion in given]
        groups = same_answer_groups([grading.answer for grading in grades])
        if items.environment:
            ends = [(group, normal(end.trajectory["files"])) for group, end in zip(groups, given, strict=True)]
            groups = [None if group is None else ends.index((group, end)) for group, end in ends]
        for sample, (completion, grading, group) in enumerate(zip(given, grades, groups, strict=True)):
            rows.append(
                {
                    "task": task,
                    "arm": arm,
                    "doc_id": doc_id,
                    "sample": sample,
                    "question": doc["question"],
                    "gold": gold,
                    "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
                    "response": completion.text,
                    "tokens": completion.tokens,
                    "finish_reason": completion.finish_reason,
                    "outcome": grading.outcome,
                    "answer": grading.answer,
                    "same_as": group,
                }
                | {key: doc[key] for key in ("subject", "level") if doc.get(key)}
                | ({"trajectory": completion.trajectory} if completion.trajectory else {})
            )
    return rows


def score_with_lm_eval(
    answerer: Answerer, items: Items, rows: list[dict[str, Any]], settings: dict[str, Any], folder: Path
) -> dict[str, float]:
    """Let lm-eval score the answers and write its own files into `folder`; the metrics it found.

    Its samples get three keys more, lists with one entry an answer: `tokens`, `finish_reason` and `outcome`.

    Raises:
        EvalError: lm-eval could not write its files.
        RuntimeError: lm-eval's scores are not ours.
    """
    import lm_eval
    from lm_eval.loggers import EvaluationTracker

    name, samples = items.task.config.task, answerer.block.samples
    by_item = [rows[i : i + samples] for i in range(0, len(rows), samples)]
    responses = [[scored_text(row) for row in item] for item in by_item]
    render = with_tools(answerer.render, items.environment)
    lm = AnsweredLM(items.prompts, responses, render, answerer.template, settings["model"])
    items.task.set_config("repeats", samples)
    items.task.set_config("generation_kwargs", answerer.generation_kwargs(items), update=True)
    beside = folder / ".lm_eval"
    tracker = EvaluationTracker(output_path=str(beside / "results.json"))  # a .json path: no folder named by the model
    # lm-eval's own report starts `python -m pip` and git in the user's folder, which may run what lies there.
    report = {"add_env_info": lambda found: found.update(environment()), "get_git_commit_hash": lambda: None}
    with quiet(), patch.multiple("lm_eval.evaluator", **report):
        results = lm_eval.simple_evaluate(
            lm,
            model_args={"pretrained": settings["model"], "arm": rows[0]["arm"]},
            tasks=[items.task],
            task_manager=items.manager,
            limit=len(by_item),
            apply_chat_template=items.chat,
            batch_size=answerer.block.batch_size,
            log_samples=True,
            evaluation_tracker=tracker,
        )
        logged = results.pop("samples")
        for sample in logged[name]:
            item = by_item[sample["doc_id"]]
            ours = sum(row["outcome"] == "correct" for row in item) / samples
            if sample["exact_match"] != ours:
                raise RuntimeError(f"{name}: lm-eval's exact_match and our outcomes differ at {sample['doc_id']}")
            sample |= {key: [row[key] for row in item] for key in ("tokens", "finish_reason", "outcome")}
        tracker.save_results_aggregated(results=results, samples=logged)
        tracker.save_results_samples(task_name=name, samples=logged[name])
    written = sorted(beside.glob("*"))
    if len(written) != 2:  # the tracker only warns when it cannot write
        raise EvalError(f"{beside}: lm-eval could not write its results there. Is the disk full?")
    for path in written:
        path.replace(folder / path.name)
    beside.rmdir()
    return {metric: results["results"][name][f"{metric},none"] for metric in ("exact_match", "no_answer")}


def scored_text(row: dict[str, Any]) -> str:
    """What lm-eval scores of an answer: its text, or the trajectory of a task with tools as JSON."""
    return json.dumps(row["trajectory"], ensure_ascii=False) if "trajectory" in row else row["response"]


def environment() -> dict[str, str]:
    """What lm-eval writes down of the machine, found without starting a program."""
    import torch

    found = versions()
    system = [platform.system(), platform.release(), platform.machine()]  # not platform(), which starts uname
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = [f"{name}: {version}" for name, version in found.items()]
    built = f"cuda: {torch.version.cuda}, hip: {torch.version.hip}, mps: {torch.backends.mps.is_available()}"
    lines += [f"system: {' '.join(system)}", built, f"gpus: {', '.join(gpus) or 'none'}"]
    return {
        "pretty_env_info": "\n".join(lines),
        "transformers_version": found["transformers"],
        "lm_eval_version": found["lm_eval"],
    }
