"""Reinforcement learning: what the base does before it, what a training is watched for, and whose server samples."""

import io
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState

from cft.errors import RunError, TrainError
from cft.models.source import ModelSource
from cft.recipe.blocks import Recipe
from cft.recipe.checks import cross_faults
from cft.recipe.rl_checks import rollout_warnings
from cft.terminal import Terminal
from cft.train import grpo
from cft.train.examine import check_golds
from cft.train.rollouts.server import check_server
from cft.train.rollouts.signal import check, measure, shipped_problems, signal_share, told, warnings
from cft.train.rollouts.watch import WatchRollouts

BATCHES = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 4}
SOURCE = ModelSource("tiny", "hub", "/models/tiny", False, "Some-Org/Tiny-1B")


def grpo_recipe(model: Path | str, rewards: list, args: dict, lora: dict | None = None, **model_block) -> Recipe:
    train = {"method": "grpo", "rewards": rewards, "lora": lora or {}, "args": args}
    return Recipe.model_validate(
        {
            "name": "test",
            "model": {"id": str(model)} | model_block,
            "data": {"builder": "prompts", "problems": ["bakery"]},
            "train": train,
            "eval": {"tasks": ["cft_math500"]},
        }
    )


def trained(folder: Path, model: Path, rewards: list, lora: dict | None = None, **args) -> None:
    """Train two steps on one prompt; it is printed."""
    row = {"id": "sum", "problem": "sum", "answer": "4", "prompt": [{"role": "user", "content": "What is 2+2?"}]}
    (folder / "examples.jsonl").write_text(json.dumps(row) + "\n")
    args = {"max_completion_length": 8, "max_steps": 2, "learning_rate": 1e-4} | BATCHES | args
    recipe = grpo_recipe(model, rewards, args, lora, dtype="float32")
    grpo.train(recipe, folder / "examples.jsonl", folder, console=Terminal(width=250))


def samples(*rows: tuple[str, list[float]], **changes) -> list[dict]:
    """Completions of some rows, by their rewards; 1 is right."""
    one = {"problem": "sum", "text": "It is \\boxed{4}.", "tokens": 6, "finish_reason": "stop"} | changes
    return [
        one | {"row": row, "rewards": {"correct": reward}, "reward": reward, "passed": reward == 1}
        for row, rewards in rows
        for reward in rewards
    ]


def found_of(*rows, group: int = 4, off: float = 0.0, **changes) -> dict:
    return measure(samples(*rows, **changes), group) | {"sampler_difference": {"mean": off, "max": off}}


def config(**changes) -> SimpleNamespace:
    keys = {"max_completion_length": 64, "mask_truncated_completions": False, "entropy_coef": 0.0, "beta": 0.0}
    keys |= {"use_adaptive_entropy": False, "num_generations": 4, "scale_rewards": "group", "learning_rate": 1e-4}
    return SimpleNamespace(**keys | changes)


# What the base does


@pytest.mark.parametrize(
    ("rewards", "group", "share"),
    [
        ([[0, 1]], 2, 0.5),
        ([[1, 0, 0, 0]], 4, 1 - 0.25**4 - 0.75**4),
        ([[1, 1, 1]], 8, 0),
        ([[0, 0.5, 1]], 2, 2 / 3),
        ([[0, 1], [0, 0]], 2, 0.25),
    ],
)
def test_the_share_of_groups_with_a_signal_is_that_of_the_formula(rewards, group, share):
    assert signal_share(rewards, group) == pytest.approx(share)


def test_each_row_and_all_together_are_measured():
    found = found_of(("hard", [0] * 8), ("medium", [1, 0, 0, 0, 0, 0, 0, 0]))
    assert found["pass_rate"] == 1 / 16 and found["observed"] == 1 / 4 and found["spread"] == 0.5
    assert found["signal"] == pytest.approx((1 - (1 / 8) ** 4 - (7 / 8) ** 4) / 2)
    assert [row["id"] for row in found["rows"]] == ["hard", "medium"] and found["rows"][0]["signal"] == 0
    assert found["generations"] is None  # half of the groups are the hard row's, and the others sometimes equal too
    assert "6% right" in told(found, config()) and "25% of those sampled" in told(found, config())


def test_rows_of_few_completions_are_taken_as_one():
    found = found_of(*[(f"row{i}", [i % 2]) for i in range(10)], group=2)
    assert found["signal"] == 0.5 and found["generations"] == 2 and found["observed"] is None


def test_answers_are_different_by_the_grader():
    texts = ["\\boxed{0.5}", "\\boxed{\\frac12}", "\\boxed{3}", "none", " "]
    found = measure([samples(("a", [0]), text=text)[0] for text in texts], 4)
    assert found["distinct_answers"] == 2 and found["empty"] == 0.2


@pytest.mark.parametrize(
    ("rewards", "changes", "args", "words"),
    [
        ([0] * 8, {}, {}, "right in 0 of 8 tries. Take a problem that it solves in part. Of the shipped ones Tiny-1B"),
        ([1] * 8, {}, {}, r"the same reward \(correct 1\); the model is right in 8 of 8 tries"),
        ([0] * 8, {"finish_reason": "length"}, {}, "cut off at 64 tokens, so none can teach. Raise .*, to 256 say"),
        ([0, 1] * 4, {"finish_reason": "length"}, {"mask_truncated_completions": True}, "cut off at 64 tokens"),
        ([0.5] * 8, {}, {}, "right in 0 of 8"),
        ([0] * 8, {"finish_reason": "length"}, {"entropy_coef": -0.01}, None),
        ([0, 1] * 4, {"finish_reason": "length"}, {}, None),
        ([0] * 7 + [1], {}, {}, None),
    ],
)
def test_a_training_that_cannot_learn_is_refused(rewards, changes, args, words, monkeypatch, tmp_path):
    (tmp_path / "problems").mkdir()
    for name, model, share in (("easy", "Tiny-1B", 98), ("fair", "Tiny-1B", 44), ("other", "Big-7B", 50)):
        note = f"id: {name}\nnote: >-\n  Short. {model}:\n  {share} % of 64 at temperature 1.0, 2026-11-28\n"
        (tmp_path / "problems" / f"{name}.yaml").write_text(note)
    monkeypatch.setattr("cft.train.rollouts.signal.recipes_folder", lambda: tmp_path)
    assert shipped_problems(SOURCE).startswith("Of the shipped ones Tiny-1B solves fair (44 %). `cft problems rank")
    found = found_of(("a", rewards), **changes)
    if words is None:
        return check(found, config(**args), SOURCE)
    with pytest.raises(TrainError, match=words):
        check(found, config(**args), SOURCE)


@pytest.mark.parametrize(
    ("rewards", "changes", "words"),
    [
        ([0] * 31 + [1], {}, "12% of the groups of 4 have a signal; num_generations=22 gives half of them one"),
        (
            [0, 1] * 4,
            {"finish_reason": "length"},
            "100% of the completions are cut off: raise max_completion_length=64",
        ),
        ([0.5, 0.51] * 4, {}, "differ by 0.0058 .*set it to batch or none"),
        ([0, 1] * 4, {"off": 0.2}, "sampler and trainer differ by 0.2 on average"),
    ],
)
def test_what_lets_little_be_learnt_is_warned_of(rewards, changes, words):
    [line] = warnings(found_of(("a", rewards), **changes), config())
    assert re.search(words, line)
    good = found_of(("a", [0, 1] * 4))
    assert warnings(good, config()) == []
    [line] = warnings(good | {"rewards": {"correct": 0, "format": 0.5}}, config())
    assert line == "the reward correct is 0 for all: only others teach"


def test_a_base_without_signal_is_refused_before_the_first_step_and_sampled_once(tiny_model, tmp_path):
    with pytest.raises(TrainError, match=r"right in 0 of 32 tries\. Take a problem that it solves in part"):
        trained(tmp_path, tiny_model, ["correct"], max_completion_length=64)
    kept = json.loads((tmp_path / "signal.json").read_text())
    assert len(kept["completions"]) == 32 and kept["pass_rate"] == 0 == kept["rows"][0]["rewards"]["correct"]
    assert 0 < kept["sampler_difference"]["mean"] < 1e-5 and not (tmp_path / "rollouts").exists()
    (tmp_path / "signal.json").write_text(json.dumps(kept | {"signal": None}))
    with pytest.raises(RunError, match=r"signal\.json: .*`?signal`?"):
        trained(tmp_path, tiny_model, ["correct"], max_completion_length=64)
    (tmp_path / "signal.json").write_text(json.dumps(kept | {"pass_rate": 0.25}))  # to tell it from another sampling
    with pytest.raises(TrainError, match=r"right in 8 of 32 tries\. Take a reward that differs between completions"):
        trained(tmp_path, tiny_model, ["correct"], max_completion_length=64)


def test_another_policy_than_is_sampled_and_a_loss_that_is_no_number(tiny_model, tmp_path, capsys):
    lora = {"lora_dropout": 0.5, "init_lora_weights": False}
    with pytest.raises(TrainError, match=r"training diverged: the gradient of step 2 is nan"):
        trained(tmp_path, tiny_model, ["random"], lora, disable_dropout=False, learning_rate=1e30)
    said = capsys.readouterr().out
    assert "32 completions for 1 prompt(s), 0% right" in said and "warning: the reward random with one" in said
    assert re.search("warning: log-probabilities of sampler and trainer differ by 0.[1-9]", said)
    assert "lora_dropout=0.5: completions are sampled without it and trained with it" in said


def test_a_gold_that_the_grader_cannot_read_is_refused():
    rows = [{"problem": name, "answer": answer} for name, answer in (("sum", "4"), ("half", "\\frac{1"), ("none", " "))]
    with pytest.raises(TrainError, match=r"cannot read the gold answer of\n  half: '\\\\frac\{1'\n  none: ' '\n"):
        check_golds(rows)


# During training


def watched(*rows: dict, **args) -> str:
    """What is said of a training with these rows in its log."""
    console = Console(file=io.StringIO(), width=250)
    state, watch = TrainerState(), WatchRollouts(console)
    for step, row in enumerate(rows, 1):
        state.global_step, state.log_history = step, [*state.log_history, row]
        watch.on_log(config(**args), state, TrainerControl(), logs=row)
    return console.file.getvalue()


def equal(reward: float) -> dict:
    return {"frac_reward_zero_std": 1.0, "reward": reward}


MIXED, LATER, CUT = {"frac_reward_zero_std": 0.5, "reward": 0.5}, {"loss": 0.0}, {"completions/clipped_ratio": 1.0}


@pytest.mark.parametrize(
    ("rows", "args", "words"),
    [
        ([MIXED, *[equal(0)] * 2, MIXED], {}, None),
        ([MIXED, *[equal(0)] * 9, MIXED, *[equal(0)] * 3], {}, "step 4: .*0 on average: nothing is learnt.*step 14: "),
        ([MIXED, *[equal(0), LATER] * 3], {}, "step 6: all rewards .* in 3 generations"),
        ([MIXED, *[equal(1)] * 20], {}, "step 4: .* it is learnt, and nothing more will be"),
        ([equal(0)] * 20, {"entropy_coef": 0.01}, "step 3: .* only entropy and KL train"),
        ([CUT] * 5, {}, "step 3: all completions of 3 generations in a row were cut off.*length=64"),
        ([{"kl": 0.5}, {"kl": 1.5}, {"kl": 2.0}], {"beta": 0.04}, "step 2: the model is 1.5 nats .*beta=0.04"),
    ],
)
def test_what_keeps_a_training_from_learning_is_said_once(rows, args, words):
    said = " ".join(watched(*rows, **args).split())
    assert said == "" if words is None else re.search(words, said) and said.count("step ") == words.count("step ")


@pytest.mark.parametrize(
    ("rows", "args", "words"),
    [
        (
            [MIXED, *[equal(0)] * 10],
            {},
            "step 11: .*equal in 10 generations in a row, 0 on average.*first step had 0.5",
        ),
        ([equal(1)] * 10, {}, "step 10: .*equal in 10 generations"),
        ([{"kl": 0.5}, {"kl": 11.0}], {"beta": 0.04}, "step 2: the model is 11 nats .*Lower train.args.learning_rate"),
    ],
)
def test_a_training_that_is_lost_ends(rows, args, words):
    with pytest.raises(TrainError, match=words):
        watched(*rows, **args)


# The server


@contextmanager
def server(answer: object, status: int = 200):
    """The address of a server that names its models so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/v1/models"
            self.send_response(status if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode() if found else b"")

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def asks(address: str) -> dict:
    return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": address}


def test_a_server_with_the_recipes_model_will_do_under_whatever_name():
    for model in ({"id": "Some-Org/Tiny-1B"}, {"id": "policy", "root": "Some-Org/Tiny-1B"}):
        with server({"data": [model]}) as address:
            check_server(asks(address + "/"), SOURCE)
    check_server({"use_vllm": True}, SOURCE)  # in this process: there is no server


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ({"data": [{"id": "Other/7B"}]}, 200, "has the model Other/7B, but the recipe's is Some-Org/Tiny-1B. .* serve"),
        ({"data": []}, 200, "does not name a model"),
        ([], 200, "does not name a model"),
        ({}, 503, "no vLLM server answers there .*503.* vllm serve Some-Org/Tiny-1B"),
    ],
)
def test_another_server_is_refused(answer, status, words):
    with server(answer, status) as address, pytest.raises(TrainError, match=f"{address}: .*{words}"):
        check_server(asks(address), SOURCE)


def test_a_server_that_is_not_there_is_said_before_anything_is_loaded(tmp_path):
    with server({}) as address:
        pass
    with pytest.raises(TrainError, match=f"{address}: no vLLM server answers there.*Start it first: VLLM_SERVER_DEV"):
        check_server(asks(address), SOURCE)


# What needs no model


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"num_generations": 12}, "num_generations = 12: 32 completions a generation (4 micro-batches of per_device_"),
        ({"num_generations": 12}, "Set num_generations to 4 or 8 or 16"),
        ({"num_generations": 1}, "num_generations = 1: the reward of a completion is compared"),
        (
            {"generation_batch_size": 36},
            "generation_batch_size = 36: is no multiple of per_device_train_batch_size, which",
        ),
        ({"steps_per_generation": 6, "num_generations": 16}, "steps_per_generation = 6: 48 completions a generation"),
        ({"steps_per_generation": 8, "generation_batch_size": 64}, "size = 64: and steps_per_generation say the same"),
        ({"steps_per_generation": 16, "save_steps": 6}, "save_steps = 6: 4 optimizer steps share a generation"),
        ({"use_transformers_continuous_batching": True}, "batching = true: rounds the adapter to 16 bits"),
        ({"teacher_model_kind": "ema"}, 'teacher_model_kind = "ema": is an average of weights that TRL keeps in'),
    ],
)
def test_batches_that_do_not_go_together_are_faults_of_the_recipe(args, words):
    recipe = grpo_recipe("m", ["correct"], args)
    faults = list(cross_faults(recipe.data, recipe.train, recipe.eval, recipe.model))
    assert len(faults) == 1 and words in str(faults[0])


def test_settings_that_have_cost_others_a_training_are_warned_of():
    args = {"num_generations": 2, "learning_rate": 1e-6}
    said = rollout_warnings(grpo_recipe("m", ["random"], args, {"lora_dropout": 0.1}).train)
    starts = ["num_generations=2: ", "learning_rate=1e-06: a LoRA", "lora_dropout=0.1: ", "the reward random with one "]
    assert len(said) == 4 and all(line.startswith(start) for line, start in zip(said, starts, strict=True))
    args = {"steps_per_generation": 16, "learning_rate": 1e-4}
    assert rollout_warnings(grpo_recipe("m", ["random", "correct"], args).train) == []
