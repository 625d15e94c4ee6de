"""What somebody deleted of a run is made again; a prompt that the model's template does not know stops at once."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import ModelError
from cft.files import write_jsonl
from cft.pipeline import run_stages
from cft.recipe.load import load_recipe
from cft.runs import Run
from tests.support.training import weights

RECIPE = """
name: tiny
model: {{id: {model}, dtype: float32}}
data: {{builder: critiques, problems: [bakery], teachers: [{{kind: file, path: bakery}}], max_examples: 2}}
train:
  method: cft
  lora: {{r: 2}}
  keep_steps: [1]
  args: {{gradient_accumulation_steps: 1, max_steps: 2, max_length: 4096}}
eval: {{tasks: [cft_wordproblems_validation], limit: 2, max_new_tokens: 4, arms: [base, step-1, adapter]}}
"""
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def run_tiny(model: Path, folder: Path, *overrides: str, stages=("data", "train", "eval")) -> tuple[Run, str]:
    (folder / "tiny.yaml").write_text(RECIPE.format(model=model))
    console = Console(file=io.StringIO(), width=250)
    recipe = load_recipe(str(folder / "tiny.yaml"), overrides)
    return run_stages(recipe, folder / "runs", console, stages), console.file.getvalue()


def test_what_was_deleted_is_made_again_and_nothing_else(tiny_model, tmp_path) -> None:
    run, _ = run_tiny(tiny_model, tmp_path)
    trained = weights(run.adapter)
    arm = run.eval / "cft_wordproblems_validation" / "adapter"
    answers = (arm / "answers.jsonl").read_bytes()
    assert run_tiny(tiny_model, tmp_path)[1].count("done before") == 3
    for gone, again in [
        (run.adapter, "train"),
        (run.adapter / "adapter_model.safetensors", "train"),
        (run.kept_adapter(1), "train"),
        (arm / "answers.jsonl", "eval"),
        (arm, "eval"),
        (run.examples, "data"),
    ]:
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        said = run_tiny(tiny_model, tmp_path)[1]
        assert f"{again}: {gone}" in said and "is gone, so it is made again" in said
        assert gone.exists() and weights(run.adapter).keys() == trained.keys()
        assert all(trained[name].equal(weight) for name, weight in weights(run.adapter).items())
        assert (arm / "answers.jsonl").read_bytes() == answers
        assert run_tiny(tiny_model, tmp_path)[1].count("done before") == 3


def test_a_pool_is_compared_with_the_items_of_the_recipe_and_again_when_they_change(
    tiny_model, tmp_path, no_hub, monkeypatch
):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    shared = "Nine red boxes stand on the old ship."
    pool = [{"question": question, "solution": "\\boxed{3}"} for question in (shared, "How many are one and two?")]
    write_jsonl(tmp_path / "pool.jsonl", pool)
    write_jsonl(tmp_path / "items.jsonl", [{"problem": "Another one?", "answer": "1"}])
    settings = [f"data={{builder: curated, path: {tmp_path / 'pool.jsonl'}}}", "train.method=sft"]
    settings += ["eval.tasks=[cft_aime24, cft_math500]", f"eval.data.cft_math500={tmp_path / 'items.jsonl'}"]

    def made() -> tuple[str, int]:
        run, said = run_tiny(tiny_model, tmp_path, *settings, stages=["data"])
        return said, run.manifest("data")["counts"]["examples"]

    said, rows = made()
    assert rows == 2 and "warning: no question is compared with the items of cft_aime24, which cannot be read" in said
    said, rows = made()
    assert rows == 2 and "data: done before" in said and "warning: no question is compared" in said
    write_jsonl(tmp_path / "items.jsonl", [{"problem": f"See: {shared}", "answer": "1"}])
    said, rows = made()
    assert rows == 1 and "set aside shares 8 words with cft_math500: 1" in said


def test_a_template_without_a_system_role_is_known_before_anything_runs(tiny_model, tmp_path) -> None:
    template = tmp_path / "no_system.jinja"
    template.write_text(NO_SYSTEM)
    with pytest.raises(ModelError, match=r"eval\.arms: base@system cannot be asked.*System role not supported"):
        run_tiny(tiny_model, tmp_path, f"model.chat_template={template}", "eval.arms=[base, base@system]")
    assert not list(tmp_path.glob("runs/**/data"))
