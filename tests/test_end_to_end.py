"""The smoke recipe, at half its size, from a model name to a scored adapter, then plain peft and plain lm_eval."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cft.models.generate import generate, render
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ModelBlock

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not os.environ.get("CFT_TEST_NETWORK"), reason="downloads 93 MB; CFT_TEST_NETWORK=1 runs it"),
]
SIZE = ["data.students.0.samples=4", "data.max_examples=8", "train.args.max_steps=2"]
SIZE += ["eval.limit=8", "eval.max_new_tokens=64"]
TASKS = Path(__file__).parent.parent / "eval" / "tasks"


def run(*command: str, cwd: Path) -> str:
    """What the command prints, with a cache of its own in `cwd`."""
    command, env = [sys.executable, "-m", *command], os.environ | {"CFT_CACHE": str(cwd / "cache")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, Path, dict]:
    """(folder of the base, run folder, report) of one smoke run."""
    cwd = tmp_path_factory.mktemp("smoke")
    result = json.loads(run("cft.cli.main", "run", "smoke", *SIZE, "--json", cwd=cwd).splitlines()[-1])
    base = json.loads(run("cft.cli.main", "models", "path", "smollm2-135m", "--json", cwd=cwd))["path"]
    folder = cwd / result["run"]
    return Path(base), folder, json.loads((folder / "report" / "report.json").read_text())


def test_the_model_from_the_package_index_knows_the_capital_of_france(smoke):
    block = ModelBlock(id=str(smoke[0]))
    model, tokenizer = load_model(block), load_tokenizer(block)
    prompt = render(tokenizer, [{"role": "user", "content": "What is the capital of France? One word."}])
    [completion] = generate(model, tokenizer, [prompt], max_new_tokens=20)
    assert "Paris" in completion.text


def test_rows_that_are_refilled_hold_the_answers_of_single_steps(smoke):
    block = ModelBlock(id=str(smoke[0]), dtype="float32")
    model, tokenizer = load_model(block), load_tokenizer(block)
    asked = [
        "What is the capital of France?",
        "What is 3 + 4?",
        "Name a colour.",
        "Write a poem about a very old tree.",
    ]
    prompts = [render(tokenizer, [{"role": "user", "content": question}]) for question in asked]
    by_steps = generate(model, tokenizer, prompts, max_new_tokens=48, decoder="steps")
    assert by_steps == generate(model, tokenizer, prompts, max_new_tokens=48, decoder="graphs", slots=2)
    assert {completion.finish_reason for completion in by_steps} == {"stop", "length"}


def test_the_report_holds_both_arms_on_the_same_items(smoke):
    _, folder, report = smoke
    assert {arm["name"]: arm["n"] for arm in report["arms"]} == {"base": 8, "adapter": 8}
    arms = [
        [json.loads(line) for line in (folder / "eval" / "cft_wordproblems" / arm / "answers.jsonl").open()]
        for arm in ("base", "adapter")
    ]
    assert [row["prompt_sha256"] for row in arms[0]] == [row["prompt_sha256"] for row in arms[1]]
    assert [row["response"] for row in arms[0]] != [row["response"] for row in arms[1]]


def test_every_trained_critique_boxes_the_truth(smoke):
    _, folder, _ = smoke
    examples = [json.loads(line) for line in (folder / "data" / "examples.jsonl").open()]
    assert len(examples) == 8
    assert all("\\boxed{361}" in row["completion"][0]["content"] for row in examples)


def test_the_adapter_loads_with_plain_peft_and_names_the_public_base(smoke):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, folder, _ = smoke
    adapter = folder / "train" / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert str(base) not in (adapter / "README.md").read_text()
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    assert any(weight.abs().sum() > 0 for name, weight in model.named_parameters() if "lora_B" in name)


def test_plain_lm_eval_gives_the_adapter_the_same_score(smoke, tmp_path):
    base, folder, report = smoke
    run(
        "lm_eval", "run", "--model", "hf", "--include_path", str(TASKS), "--tasks", "cft_wordproblems",
        "--model_args", f"pretrained={base},peft={folder / 'train' / 'adapter'},dtype=bfloat16",
        "--apply_chat_template", "--batch_size", "16", "--limit", "8", "--gen_kwargs", "max_gen_toks=64",
        "--output_path", str(tmp_path / "out"),
        cwd=tmp_path,
    )  # fmt: skip
    [results] = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(results.read_text())["results"]["cft_wordproblems"]["exact_match,none"]
    ours = next(arm["accuracy"] for arm in report["arms"] if arm["name"] == "adapter")
    assert abs(theirs - ours) <= 1.01 / 8  # bfloat16 rounds by batch: one item may fall the other way
