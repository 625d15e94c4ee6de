"""Arms: prompts, merged adapters, adapters of earlier steps, sampled answers; on the tiny model."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

import eval.answering.arms
import eval.answering.run
import eval.tasks.lm_tasks
import eval.tasks.utils
from cft.errors import EvalError, RecipeError
from cft.export.export import export
from cft.export.trained import open_trained
from cft.models.generate import generate
from cft.recipe.blocks import Arm, ModelBlock, Recipe
from cft.recipe.load import load_recipe
from eval.answering.arms import Models, adapter_of
from eval.elicitors.table import ELICITORS
from eval.grading import Grade
from eval.prompts import is_chat
from eval.report.report import write_report
from tests.support.evaluating import TASK, count_batches, make_adapter, make_recipe, rows, run, stopped_and_gone_on
from tests.support.exporting import make_base, make_run, save_adapter

SAMPLED = {"samples": 3, "temperature": 0.8, "top_p": 0.95, "limit": 4, "batch_size": 3}


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's train folder: the adapter, and another one after one step."""
    folder = tmp_path_factory.mktemp("train")
    make_adapter(tiny_model, folder / "steps" / "step-1", rank=2)
    return make_adapter(tiny_model, folder / "adapter")


def arms_of(*arms) -> list[Arm]:
    return make_recipe(Path("model"), arms=list(arms)).eval.arms


def test_an_arm_is_a_model_and_a_prompt():
    short, block, plain = arms_of("step-12@fewshot", {"model": "adapter", "prompt": "system"}, "base")
    assert (short.model, short.prompt, is_chat(short.prompt), short.name) == (
        "step-12",
        "fewshot",
        False,
        "step-12@fewshot",
    )
    assert (block.name, is_chat(block.prompt)) == ("adapter@system", True)
    assert (plain.model, plain.prompt, plain.elicitor, is_chat(plain.prompt)) == ("base", None, None, True)
    assert adapter_of("step-12", Path("train/adapter")) == Path("train/steps/step-12")
    recipe = make_recipe(Path("model"), arms=[{"model": "base", "prompt": "plain"}, "adapter"])
    assert recipe.dump()["eval"]["arms"] == ["base@plain", "adapter"]  # the short form, where there is one


def test_one_loaded_base_answers_as_every_arm(tiny_model, adapter, tmp_path, monkeypatch):
    loads = []
    load = eval.answering.arms.load_model
    monkeypatch.setattr(eval.answering.arms, "load_model", lambda block: loads.append(block) or load(block))
    arms = ["base", "adapter", "step-1", "base@plain", "adapter@system", "merged"]
    run(make_recipe(tiny_model, arms=arms, limit=3), tmp_path, adapter)
    assert len(loads) == 2  # merged has a base of its own
    texts = {arm: [row["response"] for row in rows(tmp_path, arm)] for arm in arms}
    assert texts["merged"] == texts["adapter"]  # in float32, on these few tokens
    assert len({tuple(texts[arm]) for arm in ("base", "adapter", "step-1")}) == 3
    prompts = {arm: [row["prompt_sha256"] for row in rows(tmp_path, arm)] for arm in arms}
    assert prompts["base"] == prompts["step-1"] and len({tuple(prompts[arm]) for arm in arms}) == 3


@pytest.fixture
def weak(tiny_model, tmp_path) -> tuple[Path, Path]:
    """A bfloat16 base, and an adapter so weak that rounding to the nearest loses most of it."""
    base = make_base(tiny_model, tmp_path / "base")
    save_adapter(make_recipe(base), tmp_path / "adapter", 2e-4)
    return base, tmp_path / "adapter"


def bits(models: Models, name: str) -> dict[str, torch.Tensor]:
    with models.answering_as(name) as model:
        return {key: value.clone() for key, value in model.state_dict().items()}


def test_merged_weights_keep_what_plain_merging_loses(weak):
    base, adapter = weak
    models = Models(ModelBlock(id=str(base), dtype="bfloat16"), {"adapter": adapter, "merged": adapter}, seed=3)
    ids = torch.arange(5, 60)[None]
    exact = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    layer = "model.layers.0.mlp.down_proj.weight"
    before = exact.state_dict()[layer].clone()
    update = PeftModel.from_pretrained(exact, adapter).merge_and_unload().state_dict()[layer] - before
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    plain = PeftModel.from_pretrained(plain, adapter).merge_and_unload().state_dict()[layer].float() - before
    merged = bits(models, "merged")[layer].float() - before
    kept = [float((found * update).sum() / (update * update).sum()) for found in (merged, plain)]
    assert kept[0] == pytest.approx(1, abs=0.1) and kept[1] < 0.6
    with models.answering_as("merged") as model, torch.inference_mode():
        assert model(input_ids=ids).logits.isfinite().all()


def test_merging_leaves_the_base_as_it_was_to_the_bit_and_goes_by_the_seed(weak):
    base, adapter = weak
    block = ModelBlock(id=str(base), dtype="bfloat16")
    models = Models(block, {"adapter": adapter, "merged": adapter}, seed=3)
    before, merged, after = (bits(models, name) for name in ("base", "merged", "base"))
    assert before.keys() == after.keys() and all(torch.equal(after[key], before[key]) for key in before)
    again, other = (bits(Models(block, {"merged": adapter}, seed=seed), "merged") for seed in (3, 4))
    assert all(torch.equal(again[key], merged[key]) for key in merged)
    assert not all(torch.equal(other[key], merged[key]) for key in merged)


def test_merged_weights_are_those_that_an_export_writes(tiny_model, tmp_path):
    run = make_run(tmp_path, make_base(tiny_model, tmp_path / "base"), size=2e-4, target_modules=["q_proj", "lm_head"])
    trained = open_trained(run)
    done = export(trained, ["merged"], None, Console(file=io.StringIO()))["merged"]
    written = AutoModelForCausalLM.from_pretrained(done["path"], dtype=torch.bfloat16).state_dict()
    merged = bits(Models(trained.block, {"merged": run.adapter}, seed=trained.recipe.seed), "merged")
    assert written.keys() == merged.keys() and all(torch.equal(written[key], merged[key]) for key in written)


def test_merged_on_a_4_bit_base_has_16_bit_weights_as_an_export(weak):
    pytest.importorskip("bitsandbytes")
    base, adapter = weak
    block = ModelBlock(id=str(base), dtype="bfloat16", quantization="nf4")
    found = bits(Models(block, {"adapter": adapter, "merged": adapter}, seed=3), "merged")
    wanted = bits(Models(block.model_copy(update={"quantization": "none"}), {"merged": adapter}, seed=3), "merged")
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_merged_answers_of_another_seed_are_not_taken_over(tiny_model, adapter, tmp_path, monkeypatch):
    recipe = make_recipe(tiny_model, arms=["base", "merged"], limit=2)
    run(recipe, tmp_path, adapter)
    calls = count_batches(monkeypatch)
    run(recipe, tmp_path, adapter)
    assert calls == []
    run(recipe.model_copy(update={"seed": 1}), tmp_path, adapter)
    assert sum(calls) == 2  # the two of merged; greedy answers of the base do not depend on the seed


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
    assert stopped_and_gone_on(recipe, tmp_path, None, "base", monkeypatch) == [3, 3]


def test_another_seed_gives_other_samples_and_the_same_greedy_answers(tiny_model, tmp_path, monkeypatch):
    for seed in (0, 1):
        for name, block in (("sampled", SAMPLED), ("greedy", {"limit": 4})):
            recipe = make_recipe(tiny_model, arms=["base"], **block).model_copy(update={"seed": seed})
            run(recipe, tmp_path / f"{name}-{seed}", None)
    assert rows(tmp_path / "greedy-0", "base") == rows(tmp_path / "greedy-1", "base")
    texts = [[row["response"] for row in rows(tmp_path / f"sampled-{seed}", "base")] for seed in (0, 1)]
    assert texts[0] != texts[1]


# grading


def test_a_changed_grader_grades_kept_answers_again_without_generating(tiny_model, tmp_path, monkeypatch):
    recipe = make_recipe(tiny_model, arms=["base"])
    run(recipe, tmp_path, None)
    before = rows(tmp_path, "base")
    calls = count_batches(monkeypatch)
    monkeypatch.setattr(eval.answering.run, "grader_identity", lambda: "another grader")
    for module in (eval.tasks.lm_tasks, eval.tasks.utils):
        monkeypatch.setattr(module, "grade", lambda gold, text, truncated=False: Grade("correct", "1"))
    results, printed = run(recipe, tmp_path, None)
    assert "graded again" in printed and calls == []
    after = rows(tmp_path, "base")
    assert {row["outcome"] for row in after} == {"correct"} and {row["outcome"] for row in before} != {"correct"}
    assert [row["response"] for row in after] == [row["response"] for row in before]
    assert results[TASK]["base"]["metrics"]["exact_match"] == 1.0


# elicitors


def longest(model, tokenizer, prompts, *, seed, temperature, tries=2, **how):
    """The longest of several samples of each prompt: an elicitor for tests."""
    drawn = [generate(model, tokenizer, prompts, seed=seed + i, temperature=1.0, **how) for i in range(tries)]
    return [max(answers, key=lambda answer: len(answer.text)) for answers in zip(*drawn, strict=True)]


@pytest.fixture
def toy(monkeypatch):
    """The elicitor `toy`."""
    monkeypatch.setitem(ELICITORS, "toy", f"{__name__}:longest")


def test_an_elicitor_is_an_arm_with_an_identity_of_its_own(toy, tiny_model, adapter, tmp_path, monkeypatch):
    more = {"model": "base", "elicitor": {"name": "toy", "options": {"tries": 6}}, "name": "base+toy6"}
    recipe = make_recipe(tiny_model, arms=["base", "base+toy", more, "adapter@plain+toy"])
    assert recipe == Recipe.model_validate(yaml.safe_load(recipe.to_yaml()))
    results, _ = run(recipe, tmp_path / "eval", adapter)
    arms = recipe.eval.arm_names
    length = {arm: sum(len(row["response"]) for row in rows(tmp_path / "eval", arm)) for arm in arms}
    assert arms == ["base", "base+toy", "base+toy6", "adapter@plain+toy"]
    assert length["base+toy6"] > length["base+toy"]
    settings = results[TASK]["base+toy6"]["settings"]
    assert settings["elicitor"] == {"name": "toy", "options": {"tries": 6}}
    assert "elicitor" not in results[TASK]["base"]["settings"]
    assert len({results[TASK][arm]["fingerprint"] for arm in arms}) == 4
    found = write_report("demo", tmp_path / "eval", tmp_path / "out", environment={}, arms=arms, tasks=[TASK])
    assert [pair["arm"] for pair in found["comparisons"]] == arms[1:]

    elsewhere = {"others": lambda task, arm: [tmp_path / "eval" / task / name for name in arms]}
    calls = count_batches(monkeypatch)
    run(make_recipe(tiny_model, arms=["base+toy"]), tmp_path / "same", None, **elsewhere)
    run(recipe, tmp_path / "eval", adapter)
    assert calls == []
    monkeypatch.setitem(ELICITORS, "other", f"{__name__}:longest")
    _, printed = run(make_recipe(tiny_model, arms=["base+other"]), tmp_path / "other", None, **elsewhere)
    assert "done before" not in printed  # answers of another elicitor are not taken


def test_a_killed_elicitor_goes_on_from_its_last_batch(toy, tiny_model, tmp_path, monkeypatch):
    recipe = make_recipe(tiny_model, arms=["base+toy"])
    run(recipe, tmp_path / "whole", None)
    batches = []

    def failing(*args, **how):
        batches.append(how["seed"])
        if len(batches) == 3:
            raise KeyboardInterrupt
        return longest(*args, **how)

    monkeypatch.setattr(sys.modules[__name__], "failing", failing, raising=False)
    monkeypatch.setitem(ELICITORS, "toy", f"{__name__}:failing")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "killed", None)
    run(recipe, tmp_path / "killed", None)
    assert batches[2] == batches[3] and len(batches) == len(set(batches)) + 1
    whole, killed = (rows(tmp_path / name, "base+toy") for name in ("whole", "killed"))
    assert killed == whole


def test_faults_of_elicitors_and_names_are_told(toy, tiny_model, tmp_path):
    def told(*arms, **more) -> str:
        overrides = [f"eval.arms={json.dumps(list(arms))}", *more.values()]
        with pytest.raises(RecipeError) as error:
            load_recipe("quickstart", overrides)
        return str(error.value)

    assert 'eval.arms.1 = "base+tov": is not known. Did you mean base+toy?' in told("base", "base+tov")
    unknown = told("base", {"model": "base", "elicitor": {"name": "tov", "option": {}}})
    assert 'elicitor.name = "tov": is not known. Did you mean toy?' in unknown and "Did you mean options?" in unknown
    assert "Did you mean prompt?" in told("base", {"model": "base", "promt": "plain"})
    assert "write base@plain." in told("base", {"model": "base", "prompt": "plain", "name": "adapter"})
    assert "names 'base@plain' twice" in told("base@plain", {"model": "base", "prompt": "plain"})
    assert "decodes here and not at an endpoint" in told(
        "base+toy", url="eval.endpoint={base_url: 'http://localhost:1/v1'}", served="eval.served={base: x}"
    )
    arm = {"model": "base", "elicitor": {"name": "toy", "options": {"trys": 2}}}
    with pytest.raises(EvalError, match=r"toy has no option 'trys'\. Did you mean tries\?"):
        run(make_recipe(tiny_model, arms=[arm]), tmp_path, None)


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
