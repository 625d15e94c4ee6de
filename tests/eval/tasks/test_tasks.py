"""The evaluation tasks: their items, their prompt, and that lm-eval scores a perfect model 1.0 on each."""

import calendar
import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from cft.errors import EvalError
from eval.tasks.wordproblems import ITEMS_PER_SPLIT, word_problems
from tests.support.lm_eval_tasks import INSTRUCTION, ROOT, TASKS, load, manager_of, scores

LEGS = {"snake": 0} | dict.fromkeys(["chicken", "bird", "human", "duck"], 2)
LEGS |= dict.fromkeys(["dog", "cat", "cow", "horse", "lion", "elephant", "giraffe", "tiger"], 4)
LEGS |= dict.fromkeys(["ant", "beetle", "bee", "wasp", "grasshopper", "cricket"], 6) | {"spider": 8}

MATH_ROWS = [
    {"problem": "What is $1/2 + 1/4$?", "answer": "\\frac{3}{4}", "solution": "...", "level": 1},
    {"problem": "Convert $(0,3)$ to polar coordinates.", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)"},
    {"problem": "How many?", "answer": "1,234"},
    {"problem": "Which interval?", "answer": "(-\\infty, 2] \\cup [5, \\infty)"},
    {"problem": "Six times seven?", "answer": 42},
]
GSM_ROWS = [
    {"question": "Two and two?", "answer": "Add them: 2 + 2 = <<2+2=4>>4.\n#### 4"},
    {"question": "A thousand and one?", "answer": "Easy.\n#### 1,001"},
]


def local_data(task: str, folder: Path) -> dict[str, str]:
    rows = {"cft_math500": MATH_ROWS, "cft_gsm8k": GSM_ROWS}.get(task, [])
    path = folder / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {task: str(path)} if rows else {}


# items


@pytest.mark.parametrize("split", ["test", "validation"])
def test_every_prefix_holds_two_templates_to_one_of_the_kin(split):
    items = word_problems(split)
    assert [item["doc_id"] for item in items] == list(range(ITEMS_PER_SPLIT))
    assert all((item["kind"] != "gsm_symbolic") == (item["doc_id"] % 3 == 2) for item in items)
    kin = [item["kind"] for item in items[2::3]]
    assert kin[:3] == kin[3:6] and len(set(kin[:3])) == 3
    assert word_problems(split, 10) == items[:10]


def test_splits_share_no_question():
    questions = [item["question"] for split in ("test", "validation") for item in word_problems(split)]
    assert len(set(questions)) == len(questions) == 2 * ITEMS_PER_SPLIT


def test_questions_are_whole_and_answers_exact_positive_numbers():
    for item in word_problems("test") + word_problems("validation"):
        assert re.fullmatch(r"[1-9]\d*(\.\d{1,2})?", item["answer"]), item
        assert item["question"].endswith(("?", ".")), item
        assert not re.search(r"final answer|Do not include|\d\.\d{3,}|[{}]|\bNone\b|HH:MM", item["question"]), item


def test_answers_of_the_kin_follow_from_their_questions():
    for item in word_problems("test") + word_problems("validation"):
        question, answer = item["question"], int(item["answer"]) if item["kind"] != "gsm_symbolic" else 0
        if item["kind"] == "leg_counting":
            animals = re.findall(r"(\d+) (\w+)", question)
            assert answer == sum(int(n) * LEGS[a if n == "1" else a.removesuffix("s")] for n, a in animals), item
        if item["kind"] == "time_intervals":
            start, end = (60 * int(h) + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", question))
            assert answer == end - start, item
        if item["kind"] == "calendar_arithmetic":
            day = re.search(r"(?:many|of|does) (\w+day)", question).group(1)
            months = list(calendar.month_name)
            found = re.findall(rf"(\w+day), ({'|'.join(months[1:])}) (\d+)", question)
            first, last = (date(2022, months.index(month), int(d)) for _, month, d in found)
            assert [d.strftime("%A") for d in (first, last)] == [name for name, _, _ in found], item
            days = [first + timedelta(i) for i in range((last - first).days + 1)]
            assert answer == sum(d.strftime("%A") == day for d in days), item


def test_items_are_the_same_in_every_process():
    """A pinned hash: an update of reasoning-gym must not move the items unnoticed."""
    code = (
        "import hashlib, json; from eval.tasks.wordproblems import word_problems\n"
        "for s in ('test', 'validation'):\n"
        "    print(hashlib.sha256(json.dumps(word_problems(s), sort_keys=True).encode()).hexdigest())"
    )
    for seed in ("0", "1"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        out = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", capture_output=True, text=True, check=True)
        test, validation = out.stdout.split()
        assert test == "2bdf95d35c2dfd237de1e5c2066e5537a3267863370ffcd7b2cc5db7f97888ad"
        assert validation == "6154de37a63f5cc62b051a39baeb50c023649de98d2a2208001d457534d1a524"


@pytest.mark.parametrize(
    ("split", "n", "words"), [("train", 5, "'train'"), ("test", 0, "0 word"), ("test", 301, "301 word")]
)
def test_word_problems_refuse_what_is_not_there(split, n, words):
    with pytest.raises(EvalError, match=words):
        word_problems(split, n)


# tasks in lm-eval


@pytest.mark.parametrize("name", ["cft_wordproblems", "cft_wordproblems_validation", "cft_math500", "cft_gsm8k"])
def test_perfect_boxed_answers_score_one(name, tmp_path):
    manager = manager_of(**local_data(name, tmp_path))
    found, lm = scores(manager, [name], lambda gold, _: f"I think. \\boxed{{7}}? No.\n\nIt is \\boxed{{{gold}}}.")
    assert (found[name]["exact_match,none"], found[name]["no_answer,none"]) == (1.0, 0.0)
    assert len(lm.asked) == len(load(manager, name).eval_docs)
    for prompt, settings in lm.asked:
        assert prompt.endswith(INSTRUCTION)
        assert (settings["until"], settings["do_sample"]) == ([], False)
        assert settings["max_gen_toks"] == (2048 if name == "cft_math500" else 512)


def test_wrong_boxes_and_missing_boxes_are_told_apart(tmp_path):
    manager = manager_of(**local_data("cft_gsm8k", tmp_path))
    found, _ = scores(manager, ["cft_gsm8k"], lambda gold, _: "\\boxed{5}" if gold == "4" else "The answer is 1001.")
    assert (found["cft_gsm8k"]["exact_match,none"], found["cft_gsm8k"]["no_answer,none"]) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("task", "text", "words"),
    [
        ("cft_math500", '{"problem": "a", "answer": "1"}\n{"problem": "b", "ans', ["line 2", "torn"]),
        ("cft_math500", '{"problem": "a", "answer": "1"}\n\n{"problem": "b", "answer": "2"}\n', ["line 2", "empty"]),
        ("cft_gsm8k", '{"question": "a", "answer": "Four."}\n', ["line 1", "####"]),
        ("cft_math500", None, ["cannot be read"]),
    ],
)
def test_faults_of_a_local_file_are_named_with_their_lines(task, text, words, tmp_path):
    file = tmp_path / "data.jsonl"
    if text:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(EvalError) as error:
        load(manager_of(**{task: str(file)}), task)
    assert all(word in str(error.value) for word in [task, str(file), *words]), error.value


def test_without_a_hub_the_way_to_local_data_is_shown(tmp_path):
    code = f"from lm_eval.tasks import TaskManager; TaskManager(include_path={str(TASKS)!r}).load(['cft_math500'])"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert out.returncode == 1
    assert "eval.data.cft_math500=FILE" in out.stderr and "EvalError" in out.stderr
