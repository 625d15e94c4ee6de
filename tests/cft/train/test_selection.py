"""`train.select` asks a tiny model that really trains: what is chosen, what stops it, and that it leaves no trace."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import CFTError, EvalError
from cft.recipe.blocks import Recipe
from tests.support.selecting import curve, recipe_with, write_examples, write_rows
from tests.support.training import in_process, run_train, same_weights, wait_until


@pytest.fixture(scope="module")
def chosen(folder, learner) -> tuple[Path, dict, str]:
    """A training of 24 steps that is asked after each fourth."""
    recipe = recipe_with(learner, folder, every=4)
    return folder / "chosen", *run_train(recipe, folder / "examples.jsonl", folder / "chosen")


def test_the_curve_rises_from_the_base_and_its_earliest_best_step_is_chosen(chosen) -> None:
    train, summary, printed = chosen
    points = curve(train)["points"]
    assert [point["step"] for point in points] == [0, 4, 8, 12, 16, 20, 24]
    assert points[0]["accuracy"] == 0 and max(point["accuracy"] for point in points) == 1
    best = next(point["step"] for point in points if point["accuracy"] == 1)
    assert curve(train)["selected_step"] == summary["selected_step"] == best
    assert summary["validation_accuracy"] == 1 and summary["validation_accuracy_of_base"] == 0
    assert f"validation after step {best}: 100.0% of 12 right, the best so far" in printed
    assert all({"ci", "n", "leaked", "truncated", "no_box", "tokens"} <= point.keys() for point in points)


def test_the_adapter_is_that_of_the_chosen_step(chosen, folder, learner, tmp_path) -> None:
    step = chosen[1]["selected_step"]
    assert step < 24
    run_train(recipe_with(learner, folder, {"max_steps": step}), folder / "examples.jsonl", tmp_path)
    assert same_weights(chosen[0] / "adapter", tmp_path / "adapter")
    assert not list((chosen[0] / "selection").glob("best-*")) and not (chosen[0] / "checkpoints").exists()
    card = (chosen[0] / "adapter" / "README.md").read_text()
    assert f"| selected_step | {step} |" in card and "| stopped_early | False |" in card


def test_validation_answers_are_those_that_the_evaluation_would_give(chosen, folder, learner) -> None:
    from eval.answering.run import evaluate

    raw = recipe_with(learner, folder).model_dump(mode="json")
    data = {"cft_math_validation": str(folder / "validation.jsonl")}
    raw["eval"] |= {"tasks": list(data), "data": data, "arms": ["base", "adapter"]}
    adapter, console = chosen[0] / "adapter", Console(file=io.StringIO())
    evaluate(Recipe.model_validate(raw), adapter=adapter, folder=folder / "eval", console=console)
    for arm, step in (("base", 0), ("adapter", chosen[1]["selected_step"])):
        answers, asked = (
            [json.loads(line) for line in path.read_text().splitlines()]
            for path in (
                folder / "eval/cft_math_validation" / arm / "answers.jsonl",
                chosen[0] / f"selection/step-{step}.jsonl",
            )
        )
        assert [row | {"arm": ""} for row in answers] == [row | {"arm": ""} for row in asked]


@pytest.mark.parametrize(
    ("args", "lora"),
    [({}, {"lora_dropout": 0.3}), ({"gradient_checkpointing": True, "per_device_train_batch_size": 2}, {})],
    ids=["dropout", "checkpointing"],
)
def test_asking_leaves_no_trace_in_the_training(folder, learner, tmp_path, args, lora) -> None:
    args = args | {"max_steps": 6, "learning_rate": 1e-3}
    run_train(recipe_with(learner, folder, args, lora), folder / "examples.jsonl", tmp_path / "undisturbed")
    asked = recipe_with(learner, folder, args, lora, steps=[2, 3, 6], limit=4, max_new_tokens=8)
    raw = asked.model_dump(mode="json")
    raw["train"]["keep_steps"] = [6]
    run_train(Recipe.model_validate(raw), folder / "examples.jsonl", tmp_path / "asked")
    assert same_weights(tmp_path / "undisturbed/adapter", tmp_path / "asked/steps/step-6")
    logs = [json.loads((tmp_path / name / "metrics.json").read_text())["log"] for name in ("undisturbed", "asked")]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]


def test_training_stops_when_nothing_better_is_found(folder, learner, tmp_path) -> None:
    recipe = recipe_with(learner, folder, {"num_train_epochs": 40}, every=4, patience=2)
    summary, printed = run_train(recipe, folder / "examples.jsonl", tmp_path)
    best = summary["selected_step"]
    assert summary["steps"] == best + 8 < 160
    assert summary["stopped_early"].startswith(
        f"after step {best + 8} of 160: 2 askings since step {best} (100.0% of 12"
    )
    assert f"stopped early after step {best + 8} of 160" in printed
    again = run_train(recipe, folder / "examples.jsonl", tmp_path)
    assert again[0] == summary and "validation" not in again[1]


def test_training_stops_when_the_critiques_verdict_gets_into_answers(folder, learner, tmp_path) -> None:
    examples = write_examples(tmp_path / "examples.jsonl", "Verdict: wrong")
    recipe = recipe_with(learner, folder, {"num_train_epochs": 40}, every=4)
    summary, printed = run_train(recipe, examples, tmp_path / "train")
    assert 4 <= summary["steps"] < 160 and "pass a verdict on a solution that nobody gave" in summary["stopped_early"]
    last = curve(tmp_path / "train")["points"][-1]
    assert last["leaked"] >= 2 and last["step"] == summary["steps"]
    rows = [
        json.loads(line) for line in (tmp_path / f"train/selection/step-{last['step']}.jsonl").read_text().splitlines()
    ]
    assert sum("Verdict: wrong" in row["response"] for row in rows) == last["leaked"]
    assert f"{last['leaked']} pass a verdict" in printed


SHORT = [(0, signal.SIGKILL), (8, signal.SIGTERM), (24, signal.SIGKILL)]
LONG = [(0, signal.SIGTERM), (8, signal.SIGKILL), (24, signal.SIGTERM)]


@pytest.mark.parametrize(("step", "how"), [*SHORT, *(pytest.param(*case, marks=pytest.mark.soak) for case in LONG)])
def test_a_training_killed_while_it_asks_ends_with_the_same_adapter(
    chosen, folder, learner, tmp_path, monkeypatch, step, how
) -> None:
    from eval.answering import batched

    recipe = recipe_with(learner, folder, every=4)
    log = tmp_path / "selection" / f"progress-{step}.jsonl"
    process = in_process(recipe, folder / "examples.jsonl", tmp_path)
    wait_until(lambda: log.exists() and log.stat().st_size > 0, process)  # an answer, not only its file
    os.kill(process.pid, how)
    process.join(60)
    assert process.exitcode in (-how, 143) and not (tmp_path / "adapter").exists()
    if how == signal.SIGTERM and step:
        assert (tmp_path / f"checkpoints/checkpoint-{step}/complete").exists()

    asked = []
    generate = batched.generate
    monkeypatch.setattr(batched, "generate", lambda *a, **k: asked.append(len(a[2])) or generate(*a, **k))
    summary = run_train(recipe, folder / "examples.jsonl", tmp_path)[0]
    assert same_weights(tmp_path / "adapter", chosen[0] / "adapter")
    assert curve(tmp_path) == curve(chosen[0]) and summary["selected_step"] == chosen[1]["selected_step"]
    assert sum(asked) < 12 * len([s for s in (0, 4, 8, 12, 16, 20, 24) if s >= step]), "answers of finished batches"


def test_a_training_that_had_stopped_early_does_not_go_on(folder, learner, tmp_path, monkeypatch) -> None:
    """Killed between the last step and the adapter, with a checkpoint of that step."""
    from cft.train import job

    recipe = recipe_with(learner, folder, {"num_train_epochs": 40}, every=4, patience=1)
    with monkeypatch.context() as patch:
        patch.setattr(job, "write_card", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_train(recipe, folder / "examples.jsonl", tmp_path)
    steps = json.loads((tmp_path / "metrics.json").read_text())["summary"]["steps"]
    assert (tmp_path / f"checkpoints/checkpoint-{steps}").is_dir()
    summary = run_train(recipe, folder / "examples.jsonl", tmp_path)[0]
    assert summary["steps"] == steps and summary["stopped_early"].startswith(f"after step {steps} of 160")


@pytest.mark.parametrize(
    ("select", "fault"),
    [
        ({"every": 25}, "train.select.every is 25, but training has 24 steps"),
        ({"steps": [4, 30]}, "train.select.steps names step 30, but training has 24 steps"),
        ({"every": 4, "data": "nowhere.jsonl"}, "nowhere.jsonl"),
        (
            {"every": 4, "task": "cft_math_validaton", "data": None},
            "train.select.task: unknown task 'cft_math_validaton'. Did you mean cft_math_validation?",
        ),
        ({"every": 4, "max_new_tokens": 4090}, "Set train.select.max_new_tokens to at most"),
    ],
)
def test_what_cannot_be_asked_is_told_before_training(folder, learner, tmp_path, select, fault) -> None:
    with pytest.raises(CFTError) as caught:
        run_train(recipe_with(learner, folder, **select), folder / "examples.jsonl", tmp_path)
    assert fault in str(caught.value)
    assert not list(tmp_path.glob("checkpoints/checkpoint-*"))


def test_items_of_the_test_task_are_refused_whatever_their_spaces(folder, learner, tmp_path) -> None:
    write_rows(tmp_path / "v.jsonl", [{"problem": "what is  2+2?", "answer": "4"}, {"problem": "1+1", "answer": "2"}])
    recipe = recipe_with(learner, folder, every=4, data=str(tmp_path / "v.jsonl"))
    with pytest.raises(EvalError, match=r"1 of 2 items of cft_math_validation are test items of cft_math500"):
        run_train(recipe, folder / "examples.jsonl", tmp_path / "train")
