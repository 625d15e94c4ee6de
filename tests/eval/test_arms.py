"""Arms: prompts, merged adapters, adapters of earlier steps, sampled answers; on the tiny model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import eval.arms
import eval.run
import eval.scoring
import eval.tasks.utils
from cft.errors import EvalError, RecipeError
from cft.files import sha256_file
from cft.recipe import ModelBlock, load_recipe
from eval.arms import Arm, Models
from eval.grading import Grade
from tests.eval.test_run import TASK, count_batches, make_adapter, make_recipe, rows, run

SAMPLED = {"samples": 3, "temperature": 0.8, "top_p": 0.95, "limit": 4, "batch_size": 3}


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's train folder: the adapter, and another one after one step."""
    folder = tmp_path_factory.mktemp("train")
    make_adapter(tiny_model, folder / "steps" / "step-1", rank=2)
    return make_adapter(tiny_model, folder / "adapter")


def test_an_arm_is_a_model_and_a_prompt():
    arm = Arm.named("step-12@fewshot")
    assert (arm.model, arm.prompt, arm.is_chat, arm.task("t")) == ("step-12", "fewshot", False, "t_fewshot")
    assert arm.folder(Path("train/adapter")) == Path("train/steps/step-12")
    arm = Arm.named("base")
    assert (arm.model, arm.prompt, arm.is_chat, arm.task("t")) == ("base", None, True, "t")


def test_one_loaded_base_answers_as_every_arm(tiny_model, adapter, tmp_path, monkeypatch):
    loads = []
    load = eval.arms.load_model
    monkeypatch.setattr(eval.arms, "load_model", lambda block: loads.append(block) or load(block))
    arms = ["base", "adapter", "merged", "step-1", "base@plain", "adapter@system"]
    run(make_recipe(tiny_model, arms=arms, limit=3), tmp_path, adapter)
    assert len(loads) == 1
    texts = {arm: [row["response"] for row in rows(tmp_path, arm)] for arm in arms}
    assert texts["merged"] == texts["adapter"]  # in float32, on these few tokens
    assert len({tuple(texts[arm]) for arm in ("base", "adapter", "step-1")}) == 3
    prompts = {arm: [row["prompt_sha256"] for row in rows(tmp_path, arm)] for arm in arms}
    assert prompts["base"] == prompts["step-1"] and len({tuple(prompts[arm]) for arm in arms}) == 3


def test_merging_leaves_the_base_weights_as_they_were_to_the_bit(tiny_model, adapter):
    models = Models(ModelBlock(id=str(tiny_model), dtype="bfloat16"), {"adapter": adapter, "merged": adapter})
    before = {name: value.clone() for name, value in models.loaded.state_dict().items()}
    with models.answering_as("merged") as model:
        weights = model.state_dict()
        assert any(not torch.equal(weights[name], before[name]) for name in before if "base_layer" in name)
    after = models.loaded.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


# samples


def test_samples_stand_item_by_item_and_differ(tiny_model, tmp_path):
    run(make_recipe(tiny_model, arms=["base"], **SAMPLED), tmp_path, None)
    found = rows(tmp_path, "base")
    assert [(row["doc_id"], row["sample"]) for row in found] == [(i, k) for i in range(4) for k in range(3)]
    assert len({row["response"] for row in found}) > 6
    (samples,) = (tmp_path / TASK / "base").glob("samples_*.jsonl")
    for line in samples.read_text("utf-8").splitlines():
        row = json.loads(line)
        mine = [r for r in found if r["doc_id"] == row["doc_id"]]
        assert row["resps"][0] == [r["response"] for r in mine]
        assert row["tokens"] == [r["tokens"] for r in mine] and row["outcome"] == [r["outcome"] for r in mine]
        assert row["finish_reason"] == [r["finish_reason"] for r in mine]
        assert row["arguments"]["gen_args_0"]["arg_1"]["temperature"] == 0.8


def test_killed_sampling_goes_on_and_ends_with_the_same_bytes(tiny_model, tmp_path, monkeypatch):
    recipe = make_recipe(tiny_model, arms=["base"], **SAMPLED)
    run(recipe, tmp_path / "whole", None)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_batches(patch, stop_after=2)
        run(recipe, tmp_path / "killed", None)
    calls = count_batches(monkeypatch)
    run(recipe, tmp_path / "killed", None)
    assert calls == [3, 3]
    files = [tmp_path / name / TASK / "base" / "answers.jsonl" for name in ("whole", "killed")]
    assert sha256_file(files[0]) == sha256_file(files[1])


def test_another_seed_gives_other_samples_and_the_same_greedy_answers(tiny_model, tmp_path, monkeypatch):
    for seed in (0, 1):
        for name, block in (("sampled", SAMPLED), ("greedy", {"limit": 4})):
            recipe = make_recipe(tiny_model, arms=["base"], **block).model_copy(update={"seed": seed})
            run(recipe, tmp_path / f"{name}-{seed}", None)
    assert rows(tmp_path / "greedy-0", "base") == rows(tmp_path / "greedy-1", "base")
    texts = [[row["response"] for row in rows(tmp_path / f"sampled-{seed}", "base")] for seed in (0, 1)]
    assert texts[0] != texts[1]


# grading and back ends


def test_a_changed_grader_grades_kept_answers_again_without_generating(tiny_model, tmp_path, monkeypatch):
    recipe = make_recipe(tiny_model, arms=["base"])
    run(recipe, tmp_path, None)
    before = rows(tmp_path, "base")
    calls = count_batches(monkeypatch)
    monkeypatch.setattr(eval.run, "grader_identity", lambda: "another grader")
    for module in (eval.scoring, eval.tasks.utils):
        monkeypatch.setattr(module, "grade", lambda gold, text, truncated=False: Grade("correct", "1"))
    results, printed = run(recipe, tmp_path, None)
    assert "graded again" in printed and calls == []
    after = rows(tmp_path, "base")
    assert {row["outcome"] for row in after} == {"correct"} and {row["outcome"] for row in before} != {"correct"}
    assert [row["response"] for row in after] == [row["response"] for row in before]
    assert results[TASK]["base"]["metrics"]["exact_match"] == 1.0


def test_lm_evals_own_model_gives_the_same_greedy_answers(tiny_model, adapter, tmp_path):
    arms = ["base", "adapter", "base@fewshot"]
    for backend in ("transformers", "hf"):
        run(make_recipe(tiny_model, arms=arms, limit=4, backend=backend), tmp_path / backend, adapter)
    for arm in arms:
        ours, theirs = (rows(tmp_path / backend, arm) for backend in ("transformers", "hf"))
        assert [row["response"] for row in ours] == [row["response"] for row in theirs]
        assert [row["finish_reason"] for row in ours] == [row["finish_reason"] for row in theirs]


# bad input


def test_an_adapter_with_another_tokenizer_or_template_is_refused(tiny_model, adapter, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    broken = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    tokenizer.save_pretrained(broken)
    run(make_recipe(tiny_model, arms=["adapter"], limit=1), tmp_path / "same", broken)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(broken)
    with pytest.raises(EvalError, match="another chat template"):
        run(make_recipe(tiny_model, arms=["adapter"], limit=1), tmp_path / "template", broken)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(broken)
    with pytest.raises(EvalError, match=r"another tokenizer \(\d+ tokens, the base has \d+\)"):
        run(make_recipe(tiny_model, arms=["adapter"], limit=1), tmp_path / "tokens", broken)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("eval.arms=[base, adaptr]", "Did you mean adapter?"),
        ("eval.arms=[base@fewshots]", "Did you mean base@fewshot?"),
        ("eval.arms=[base, step-3]", "Set train.keep_steps to [3]"),
        ("eval.samples=4", "Set eval.temperature above 0"),
        ("eval.served={base: x}", "Set eval.endpoint"),
        ("eval.temperature=-1", "eval.temperature"),
    ],
)
def test_a_recipe_says_what_is_wrong_with_its_arms_and_samples(override, told):
    with pytest.raises(RecipeError) as error:
        load_recipe("quickstart", [override])
    assert told in str(error.value)
