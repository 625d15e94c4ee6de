"""What is delivered answers as what was trained, the base arm is the base, and what cannot be is said at once."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import cft.weights.adapter
from cft.errors import EvalError, TrainError
from cft.recipe.blocks import ModelBlock, Recipe
from cft.weights.adapter import changes_base
from eval.answering.arms import Models
from tests.support.evaluating import TASK, rows, run
from tests.support.evaluating import make_recipe as evaluation
from tests.support.training import make_recipe, run_train, same_weights, write_examples

ARGS = {"max_steps": 2, "gradient_accumulation_steps": 1, "learning_rate": 0.02, "warmup_steps": 0}
IDS = torch.arange(60)[None] * 4 % 250


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    return write_examples(tmp_path_factory.mktemp("rows") / "examples.jsonl", 4)


def recipe_of(model: Path, lora: dict, keep_steps: list[int] | None = None, arms: list[str] | None = None) -> Recipe:
    raw = make_recipe(model, ARGS, {"r": 4} | lora, dtype="float32").model_dump(mode="json")
    raw["train"]["keep_steps"] = keep_steps or []
    raw["eval"]["arms"] = arms or ["base", "adapter"]
    return Recipe.model_validate(raw)


def logits_of(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def plain(model: Path, adapter: Path | None = None) -> torch.Tensor:
    """Logits as plain transformers and PEFT give them."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return logits_of(PeftModel.from_pretrained(base, adapter) if adapter else base)


@pytest.mark.parametrize(
    "lora",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "eva"},
        {"init_lora_weights": False},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"trainable_token_indices": [60, 61]},
        {"lora_bias": True},
    ],
    ids=lambda lora: " ".join(f"{key}={value}" for key, value in lora.items()),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_kind_of_adapter_leaves_the_base_arm_the_base(tiny_model, examples, tmp_path, lora) -> None:
    recipe = recipe_of(tiny_model, lora, keep_steps=[1])
    run_train(recipe, examples, tmp_path / "train")
    adapter, raw = tmp_path / "train" / "adapter", plain(tiny_model)
    folders = {"adapter": adapter, "step-1": adapter.parent / "steps" / "step-1"}
    models = Models(ModelBlock(id=str(tiny_model), dtype="float32"), folders)
    for _ in range(2):  # whatever answered before
        for name, folder in folders.items():
            with models.answering_as(name) as model:
                ours = logits_of(model)
            torch.testing.assert_close(ours, plain(tiny_model, folder), rtol=1e-4, atol=1e-4)
            assert not torch.equal(ours, raw)
            with models.answering_as("base") as model:
                assert torch.equal(logits_of(model), raw)


def test_the_rule_names_what_changes_the_base() -> None:
    assert changes_base({}) == changes_base({"init_lora_weights": "gaussian", "bias": "none"}) == []
    assert changes_base({"init_lora_weights": "pissa_niter_4"}) == ["init_lora_weights"]
    assert changes_base({"init_lora_weights": "a start of next year"}) == ["init_lora_weights"]
    assert changes_base({"bias": "all", "layer_replication": [[0, 1]]}) == ["bias", "layer_replication"]


def test_a_start_by_chance_is_refused_before_training(tiny_model, examples, tmp_path) -> None:
    with pytest.raises(TrainError, match="pissa_niter_4: changes the base's weights by chance"):
        run_train(recipe_of(tiny_model, {"init_lora_weights": "pissa_niter_4"}), examples, tmp_path)
    assert not list(tmp_path.glob("checkpoints/checkpoint-*")) and not (tmp_path / "adapter").exists()


def test_what_cannot_be_merged_is_said_before_training(tiny_model, examples, tmp_path) -> None:
    said = run_train(recipe_of(tiny_model, {"lora_bias": True}), examples, tmp_path / "said")[1]
    assert "PEFT cannot merge such an adapter: Impossible to merge LoRA with" in said
    assert "cannot merge" not in run_train(recipe_of(tiny_model, {"use_dora": True}), examples, tmp_path / "dora")[1]
    with pytest.raises(TrainError, match=r"cannot merge such an adapter.*The arm `merged`"):
        run_train(recipe_of(tiny_model, {"lora_bias": True}, arms=["base", "merged"]), examples, tmp_path / "refused")
    assert not (tmp_path / "refused" / "adapter").exists()


def test_an_adapter_that_does_not_read_back_is_not_kept(tiny_model, examples, tmp_path, monkeypatch) -> None:
    """With a rule that is wrong about a kind, the comparison with the model in memory finds it all the same."""
    monkeypatch.setattr(cft.weights.adapter, "KEEPS_BASE", (True, "pissa"))
    with pytest.raises(TrainError, match="does not answer as the trained model: logits up to"):
        run_train(recipe_of(tiny_model, {"init_lora_weights": "pissa"}), examples, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_base_arm_that_is_not_the_base_stops_the_evaluation(tiny_model, examples, tmp_path, monkeypatch) -> None:
    run_train(recipe_of(tiny_model, {"init_lora_weights": "pissa"}), examples, tmp_path)
    monkeypatch.setattr(cft.weights.adapter, "KEEPS_BASE", (True, "pissa"))
    with pytest.raises(EvalError, match="does not answer as it does without them"):
        run(evaluation(tiny_model, limit=2), tmp_path / "eval", tmp_path / "adapter")
    assert not list(tmp_path.glob("eval/**/answers.jsonl"))


def test_reading_back_leaves_no_trace_in_the_training(tiny_model, examples, tmp_path) -> None:
    for name, steps in (("without", []), ("with", [1])):
        run_train(recipe_of(tiny_model, {"lora_dropout": 0.2}, keep_steps=steps), examples, tmp_path / name)
    assert same_weights(tmp_path / "without" / "adapter", tmp_path / "with" / "adapter")


def test_a_whole_evaluation_of_a_changed_base_answers_as_the_base_alone(tiny_model, examples, tmp_path) -> None:
    run_train(recipe_of(tiny_model, {"init_lora_weights": "pissa"}), examples, tmp_path)
    sampled = {"limit": 2, "temperature": 1.0, "max_new_tokens": 12}
    run(evaluation(tiny_model, **sampled), tmp_path / "both", tmp_path / "adapter")
    run(evaluation(tiny_model, arms=["base"], **sampled), tmp_path / "alone", None)
    about = json.loads((tmp_path / "both" / TASK / "base" / "arm.json").read_text())
    assert about["settings"]["base"] == "to the bit"  # so answers of a base that was none are not taken for its own
    both, alone = ([row["response"] for row in rows(tmp_path / name, "base")] for name in ("both", "alone"))
    assert both == alone != [row["response"] for row in rows(tmp_path / "both", "adapter")]


def with_alike_marks(tiny: Path, folder: Path) -> Path:
    """The tiny model with an output layer of its own, in which start and end of a turn have the same row."""
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32, tie_word_embeddings=False)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    ids = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.lm_head.weight.data[ids[0]] = model.lm_head.weight.data[ids[1]]
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_marks_that_the_output_layer_cannot_tell_apart_are_named_and_their_rows_can_be_trained(
    tiny_model, examples, tmp_path
) -> None:
    folder = with_alike_marks(tiny_model, tmp_path / "model")
    start, end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    for name, lora in (("lora", {}), ("rows", {"trainable_token_indices": {"lm_head": [end]}})):
        told = run_train(recipe_of(folder, lora), examples, tmp_path / name)[1]
        logits = plain(folder, tmp_path / name / "adapter")[..., [start, end]]
        if lora:
            assert "cannot tell" not in told and (logits[..., 0] != logits[..., 1]).any()
        else:  # whatever is trained, both are as likely
            assert "<|im_end|> (alike to 1 others)" in told
            assert f"trainable_token_indices={{embed_tokens: [{end}], lm_head: [{end}]}}" in told
            torch.testing.assert_close(logits[..., 0], logits[..., 1], rtol=0, atol=1e-6)
    assert "cannot tell" not in run_train(recipe_of(tiny_model, {}), examples, tmp_path / "plain")[1]
