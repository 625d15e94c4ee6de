"""The plan's estimates follow the rows and settings that they are made from."""

import json
import shutil

import pytest
import yaml

from cft.devices import pick_device
from cft.models.catalogue import load_entries
from cft.plan.memory import plan_memory
from cft.plan.plan import make_plan, row_tokens
from cft.recipe.load import load_recipe
from tests.support.command import cft


def memory(*overrides: str, rows: tuple[float, ...] = (400.0, 900.0), what: str = "training_gb") -> float:
    architecture = load_entries()["qwen2.5-coder-0.5b"].architecture
    pairs = [(row / 2, row / 2) for row in rows]
    return plan_memory(
        load_recipe("quickstart", ["model.dtype=bfloat16", *overrides]), architecture, pairs, None, "cpu"
    )[what]


def test_rows_are_those_of_the_files_until_there_are_examples_and_no_more_than_max_examples():
    recipe = load_recipe("quickstart")
    planned = [sum(pair) for pair in row_tokens(recipe, [], 0, True)]
    assert len(planned) == 48 and 500 < min(planned) < max(planned) < 1024
    example = {"prompt": [{"content": "x" * 330}], "completion": [{"content": "y" * 330}]}
    assert row_tokens(recipe, [example], 7, False) == [pytest.approx((100, 100))]
    assert len(row_tokens(load_recipe("quickstart", ["data.max_examples=5"]), [], 0, True)) == 5
    assert len(row_tokens(load_recipe("smoke", ["data.max_examples=null"]), [], 8, True)) == 168 + 8


def test_one_of_a_thing_is_named_as_one(tmp_path):
    one = load_recipe("quickstart", ["data.max_examples=1", "eval.limit=1", "eval.arms=[base]"])
    _, train, evaluation = [stage["rows"] for stage in make_plan(one, tmp_path)["stages"]]
    assert train.startswith("1 example,") and train.endswith(", 1 time") and "1 item x 1 arm (base)" in evaluation


def test_tokens_are_those_of_the_tokenizer_as_it_is_also_when_they_were_counted_before(
    tiny_model, tmp_path, monkeypatch
):
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    model = shutil.copytree(tiny_model, tmp_path / "model")
    recipe = load_recipe("quickstart", [f"model.id={model}"])
    messages = {"prompt": [{"role": "user", "content": "1+1?"}], "completion": [{"role": "assistant", "content": "2"}]}
    counted = row_tokens(recipe, [{"id": "a"} | messages], 0, True)
    assert row_tokens(recipe, [{"id": "b"} | messages], 0, True) == counted
    (template,) = model.glob("*.jinja")
    template.write_text("Think first. " + template.read_text())
    ((prompt, trained),) = row_tokens(recipe, [{"id": "b"} | messages], 0, True)
    assert prompt > counted[0][0] and trained == counted[0][1]


def test_a_folder_here_that_has_the_form_of_a_hub_id_is_not_the_model_and_the_plan_says_so(tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "models/mine")
    planned = cft("plan", "quickstart", "model.id=models/mine", cwd=tmp_path)
    assert planned.returncode == 0 and "write ./models/mine for that" in " ".join(planned.stdout.split())
    planned = cft("plan", "quickstart", "model.id=./models/mine", cwd=tmp_path)
    assert planned.returncode == 0 and "(folder, licence unknown, cached)" in planned.stdout


def test_memory_is_that_of_the_longest_batch_or_of_evaluation_whichever_is_more():
    assert memory(rows=(400, 400)) < memory(rows=(400, 900)) == memory(rows=(900, 900))
    assert memory("train.args.per_device_train_batch_size=4") > 2 * memory()
    assert memory("train.args.gradient_checkpointing=true") < memory()
    peak = {"what": "peak_gb"}
    assert memory("eval.batch_size=400", **peak) > memory("eval.batch_size=2", rows=(3000,), **peak)
    assert memory("eval.batch_size=2", rows=(3000,), **peak) == memory(rows=(3000,))
    assert memory(rows=(), **peak) == memory(rows=(1,), **peak) > memory("eval.batch_size=2", rows=(), **peak)


def test_refilled_rows_have_room_for_the_longest_prompt_and_take_the_time_of_their_tokens_and_of_the_last_ones(
    tmp_path,
):
    def planned(decoder: str, *overrides: str) -> tuple[float, float]:
        recipe = load_recipe("quickstart", ["model.dtype=bfloat16", f"eval.decoder={decoder}", *overrides])
        plan = make_plan(recipe, tmp_path, "rtx 4090")
        scored = plan["stages"][-1]
        assert (", decoder graphs" in scored["rows"]) == (decoder != "steps")
        return scored["estimates"]["seconds"], plan["memory"]["evaluation_gb"]

    assert planned("auto") == planned("graphs")  # of a card
    (slow, _), (fast, room) = planned("steps"), planned("graphs")
    assert fast < slow / 3
    longer, more_room = planned("graphs", "eval.max_new_tokens=4000")  # tasks say how many tokens an answer has
    assert longer > fast and more_room > 1.5 * room
    assert planned("graphs", "eval.batch_size=200")[1] > 2 * room


def test_rows_are_counted_as_training_will_once_they_are_there(tmp_path, tiny_model):
    overrides = [f"model.id={tiny_model}", "model.dtype=float32", "train.args.max_length=4096"]
    before = json.loads(cft("plan", "quickstart", *overrides, "--json", cwd=tmp_path).stdout)
    assert cft("data", "make", "quickstart", *overrides, cwd=tmp_path).returncode == 0
    after = json.loads(cft("plan", "quickstart", *overrides, "--json", cwd=tmp_path).stdout)
    assert [stage["done"] for stage in after["stages"]] == [True, False, False]
    assert before["stages"][1]["estimates"]["tokens"] > 30_000
    checked = json.loads(cft("preflight", "quickstart", *overrides, "--json", cwd=tmp_path).stdout)
    counted = checked["prompt_tokens"] + checked["completion_tokens"]
    assert after["stages"][1]["estimates"]["tokens"] == counted > 2 * before["stages"][1]["estimates"]["tokens"]
    assert after["memory"]["training_gb"] >= before["memory"]["training_gb"]


def test_a_type_that_the_cpu_emulates_is_pointed_out_and_auto_avoids_it(monkeypatch, tmp_path):
    import torch

    if pick_device() != "cpu":
        pytest.skip("about CPUs")
    for has in (True, False):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda has=has: has)
        auto, asked = load_recipe("quickstart"), load_recipe("quickstart", ["model.dtype=bfloat16"])
        assert (
            auto.model.dtype == yaml.safe_load(auto.to_yaml())["model"]["dtype"] == ("bfloat16" if has else "float32")
        )
        assert make_plan(auto, tmp_path)["slow"] is None
        told = make_plan(asked, tmp_path)["slow"]
        assert told is None if has else "Set model.dtype=float32" in told


def test_the_plan_says_which_difference_the_items_can_find(tmp_path, tiny_model):
    overrides = [f"model.id={tiny_model}", "model.dtype=float32"]
    text = " ".join(cft("plan", "quickstart", *overrides, cwd=tmp_path).stdout.split())
    assert "cft_wordproblems: ~ finds a difference of about 5.8 points (80 % power; assumes that 10 % of" in text
    few = json.loads(cft("plan", "quickstart", *overrides, "eval.limit=40", "--json", cwd=tmp_path).stdout)
    power = few["stages"][-1]["estimates"]["power"]
    assert power["questions"] == 40 and power["difference"] > 0.12
    sampled = ["eval.samples=4", "eval.temperature=0.8"]
    drawn = json.loads(cft("plan", "quickstart", *overrides, *sampled, "--json", cwd=tmp_path).stdout)["stages"][-1]
    assert drawn["estimates"]["power"]["samples"] == 4 and drawn["estimates"]["power"]["within"] > 0
    assert drawn["estimates"]["tokens"] == 4 * 240 / 40 * few["stages"][-1]["estimates"]["tokens"]
    alone = json.loads(cft("plan", "quickstart", *overrides, "eval.arms=[base]", "--json", cwd=tmp_path).stdout)
    assert "power" not in alone["stages"][-1]["estimates"]


def test_validation_answers_are_a_part_of_the_plan(tmp_path, tiny_model):
    def planned(*select: str) -> list[dict]:
        command = ("plan", "quickstart", f"model.id={tiny_model}", "model.dtype=float32", *select, "--json")
        return json.loads(cft(*command, cwd=tmp_path).stdout)["stages"]

    assert [stage["stage"] for stage in planned()] == ["data", "train", "eval"]
    _, training, choosing, _ = planned("train.select={every: 5, limit: 30, max_new_tokens: 90}")
    assert training["stage"] == choosing["stage"] == "train"
    assert choosing["rows"] == "at most 120 validation answers, of cft_wordproblems_validation"  # steps 0, 5, 10, 12
    assert choosing["estimates"]["tokens"] == 120 * (110 + 90)
    told = cft("plan", "quickstart", "train.select={every: 5, task: cft_wordproblem}", cwd=tmp_path)
    assert told.returncode == 2 and "unknown task 'cft_wordproblem'. Did you mean" in told.stderr
