"""Prompts laid over tasks: the same prompts as ever, one entry for a new one, and the folder for plain lm_eval."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cft.errors import EvalError
from cft.recipe.blocks import EvalBlock
from eval.prompts import PROMPTS, Prompt, arm_prompts
from eval.tasks.lm_tasks import find_task, known_tasks
from tests.support.evaluating import make_recipe, rows, run
from tests.support.lm_eval_tasks import ROOT, load, manager_of

MATH = '{"problem": "What is $1/2 + 1/4$?", "answer": "\\\\frac{3}{4}"}\n{"problem": "How many?", "answer": "1,234"}\n'
# sha256 of the first ten prompts, joined by NUL; chats as the JSON of their messages
SHA256 = {
    ("cft_wordproblems", None): "ba1a2c4a512a98d6961254dcfeb10abba4d9206f0dbc388124f43ffa1283a3fc",
    ("cft_wordproblems", "system"): "ff107d4131847739785c40810617be90ddd9f063680e6e030e9b864f6d4d5379",
    ("cft_wordproblems", "plain"): "445595169b6fc979e811eba6749c0e4bcb359f78b4fcf451737229b82f72cfaa",
    ("cft_wordproblems", "fewshot"): "840fe8176d4f474801996d138c2238ac74b177cf46c23d838d15cf55cae30097",
    ("cft_wordproblems", "python"): "3782fbe3d74623a720e537c2fcf6a6e8235d23137eebf74fb5399775837ea4cb",
    ("cft_math500", None): "4fecb1e8786cbd1865873d0c95186ac7e90784e4768f121cfce43c3cc5e29277",
    ("cft_math500", "system"): "190016b8216b7dec61c77088d4bdbb4914be70bfef7dc42a4328deb88b787cd6",
    ("cft_math500", "plain"): "668ffea532135f41e7f2dc817ef2e813afacd1a7e94f8516fb6a8f55d39ac243",
    ("cft_math500", "fewshot"): "33d2804d4da2912d611422c10b568d9ff4060c41b4d2d47ddc8398496e597b20",
    ("cft_math500", "python"): "8f7357f34db73fd911bdf608fca0b1c72b246c9221ee206be2cfb4f96322781c",
}


def sha256(prompts: list[str]) -> str:
    return hashlib.sha256("\0".join(prompts).encode()).hexdigest()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("math500", "aime24"):
        (folder / f"{name}.jsonl").write_text(MATH, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes for plain lm_eval."""
    folder = tmp_path_factory.mktemp("tasks")
    subprocess.run([sys.executable, "-m", "eval.tasks.write", str(folder)], check=True, cwd=ROOT)
    return folder


@pytest.mark.parametrize(("task", "prompt"), SHA256)
def test_prompts_are_pinned(task, prompt, data):
    found = find_task(task, EvalBlock(tasks=[task], data_dir=str(data)))
    assert sha256(found.items(prompt, json.dumps, 10).prompts) == SHA256[task, prompt]


def test_plain_lm_eval_reads_the_written_folder_and_gives_the_same_prompts(written, data):
    manager = manager_of(written, data_dir=str(data))
    sampled = {"cft_aime24": 16, "cft_aime25": 16, "cft_amc23": 16, "cft_math500": 4, "cft_math_validation": 4}
    with_tools = {"cft_office", "cft_office_validation"}  # they have one prompt, their own
    names = {f"{task}_{prompt}" for task in known_tasks().keys() - with_tools for prompt in arm_prompts()}
    assert set(manager.all_tasks) == names | set(known_tasks()) | {f"{task}_sampled" for task in sampled}
    for (task, prompt), expected in SHA256.items():
        name = f"{task}_{prompt}" if prompt else task
        loaded = load(manager, name)
        chat = {"apply_chat_template": True, "fewshot_as_multiturn": True, "tokenizer_name": ""}
        chat["chat_template"] = lambda messages, **_: json.dumps(messages)
        loaded.build_all_requests(limit=10, **(chat if prompt is None or PROMPTS[prompt].chat else {}))
        assert sha256([instance.args[0] for instance in loaded.instances]) == expected
    for name in ("cft_aime24", "cft_math500"):
        loaded = load(manager, f"{name}_sampled")
        assert (loaded.config.repeats, loaded.config.generation_kwargs["do_sample"]) == (sampled[name], True)


def test_a_new_prompt_is_one_entry_and_its_overlay(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "loud").write_text('doc_to_text: "HEAR THIS: {{question}}"\n', encoding="utf-8")
    monkeypatch.setitem(PROMPTS, "loud", Prompt(tmp_path / "loud", chat=False))
    recipe = make_recipe(tiny_model, arms=["base", "base@loud"], limit=2)
    run(recipe, tmp_path / "eval", None)
    found = rows(tmp_path / "eval", "base@loud")
    for row in found:
        assert row["prompt_sha256"] == hashlib.sha256(f"HEAR THIS: {row['question']}".encode()).hexdigest()


def test_a_variant_is_no_task_of_a_recipe():
    for name, fix in (("cft_gsm8k_fewshot", "name the arm base@fewshot"), ("cft_aime24_sampled", "set eval.samples")):
        with pytest.raises(EvalError, match=fix):
            find_task(name, EvalBlock(tasks=[name]))
