"""The benchmarks' tasks: pinned sources, and that lm-eval scores a perfect model 1.0 on rows as the sources have them.

The rows here are made up, in the keys and forms of the real files. Where the environment variable CFT_TEST_BENCHMARKS
names a folder of the real ones, they are read and graded too.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from eval.grading import grade
from eval.prompts import arm_prompts
from eval.tasks.write import write_tasks
from tests.support.lm_eval_tasks import INSTRUCTION, ROOT, TASKS, load, manager_of, scores

SAMPLED = ("amc23", "aime24", "aime25")

AIME = {"id": 1, "problem": "How many?", "solution": "We get \\boxed{033}.", "answer": "033", "url": "https://x.org"}
BBEH = "Which option is right?\n(A) The first.\n(B) Ambiguous."
# benchmark: file in a folder of data, its rows, their golds, and the subjects
FILES: dict[str, tuple[str, list[dict], list[str], list[str] | None]] = {
    "gsm8k_platinum": (
        "gsm8k-platinum/main/test.jsonl",
        [{"question": "Cost?", "answer": "1 + 999 = <<1+999=1000>>1,000\n#### 1,000", "cleaning_status": "verified"}],
        ["1000"],
        None,
    ),
    "amc23": ("amc23/test.jsonl", [{"id": 0, "problem": "Far?", "answer": "27.0", "question": "Far?"}], ["27.0"], None),
    "aime24": ("aime24/test.jsonl", [AIME, {"problem": "And?", "solution": "\\boxed{7}"}], ["033", "7"], None),
    "aime25": ("aime25.jsonl", [{"problem": "Sum?", "answer": 70, "id": "0"}], ["70"], None),
    "minerva": (
        "minerva_math/test.jsonl",
        [
            {"problem": "Energy?", "solution": "$E=\\boxed{4.5e33}$ ergs", "type": "Astronomy", "idx": 1},
            {"problem": "Angle?", "solution": "\\[\\boxed{np.arcsin(10/13)}\\]", "type": "Optics", "idx": 5},
        ],
        ["4.5e33", "\\arcsin(10/13)"],
        ["Astronomy", "Optics"],
    ),
    "olympiadbench": (
        "olympiadbench/test.jsonl",
        [
            {"id": 1, "question": "Find all $x$.", "final_answer": ["$1$,$-1$"], "subfield": "Algebra", "unit": None},
            {"id": 2, "question": "Find $r$.", "final_answer": ["$(0,1]$."], "subfield": "Geometry", "unit": None},
        ],
        ["1,-1", "(0,1]"],
        ["Algebra", "Geometry"],
    ),
    "bbeh_causal": (
        "bbeh_causal_understanding/task.json",
        [{"input": "Did it cause the fall? Reply Yes, No or Ambiguous.", "target": "Ambiguous"}],
        ["Ambiguous"],
        None,
    ),
    "bbeh_disambiguation": ("bbeh_disambiguation_qa/task.json", [{"input": BBEH, "target": "(B)"}], ["(B)"], None),
    "bbeh_time": (
        "bbeh_time_arithmetic/task.json",
        [
            {"input": "Which day?", "target": "[friday, thursday]"},
            {"input": "What date?", "target": "August 22, 2020"},
            {"input": "And then?", "target": "unanswerable"},
        ],
        ["[friday, thursday]", "August 22, 2020", "unanswerable"],
        None,
    ),
}
REAL_COUNTS = {"amc23": 40, "aime24": 30, "aime25": 30, "minerva": 272, "olympiadbench": 675}
REAL_COUNTS |= {"gsm8k_platinum": 1209, "bbeh_causal": 200, "bbeh_disambiguation": 120, "bbeh_time": 200}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file for every benchmark."""
    folder = tmp_path_factory.mktemp("data")
    for file, rows, _, _ in FILES.values():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(json.dumps({"examples": rows, "canary": "x"}) if path.suffix == ".json" else lines)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all tasks under all prompts."""
    folder = tmp_path_factory.mktemp("tasks")
    write_tasks(folder)
    return folder


@pytest.fixture(scope="module")
def manager(data: Path, written: Path) -> TaskManager:
    return manager_of(written, data_dir=str(data))


@pytest.mark.parametrize("benchmark", FILES)
def test_items_are_those_of_the_file(benchmark, manager):
    _, rows, golds, subjects = FILES[benchmark]
    docs = list(load(manager, f"cft_{benchmark}").eval_docs)
    assert [doc["answer"] for doc in docs] == golds
    assert [doc["question"] for doc in docs] == [
        next(row[key] for key in ("input", "question", "problem") if key in row) for row in rows
    ]
    assert subjects is None or [doc["subject"] for doc in docs] == subjects


def test_a_perfect_model_scores_one_and_a_wrong_one_nothing(manager):
    names = [f"cft_{benchmark}" for benchmark in FILES]
    perfect, lm = scores(manager, names, lambda gold, _: f"\\boxed{{5}}? No. It is \\boxed{{{gold}}}.")
    wrong, _ = scores(manager, names, lambda gold, _: f"\\boxed{{{gold}}}? No: \\boxed{{123456}}.")
    for name in names:
        assert (perfect[name]["exact_match,none"], perfect[name]["no_answer,none"]) == (1.0, 0.0), name
        assert (wrong[name]["exact_match,none"], wrong[name]["no_answer,none"]) == (0.0, 0.0), name
    assert len(lm.asked) == sum(len(golds) for _, _, golds, _ in FILES.values())
    for prompt, settings in lm.asked:
        assert prompt.endswith(INSTRUCTION)
        assert (settings["until"], settings["do_sample"]) == ([], False)
        assert settings["max_gen_toks"] == (512 if prompt.startswith("Cost?") else 4096)


@pytest.mark.parametrize("benchmark", FILES)
def test_prompt_variants_ask_the_same_questions(benchmark, manager):
    docs = list(load(manager, f"cft_{benchmark}").eval_docs)
    for variant in arm_prompts():
        task = load(manager, f"cft_{benchmark}_{variant}")
        assert list(task.eval_docs) == docs
        task.build_all_requests()
        for doc, instance in zip(docs, task.instances, strict=True):
            before, asked, after = instance.args[0].rpartition(doc["question"])
            assert asked and (variant == "fewshot") == ("\\boxed{348}" in before)
            assert (INSTRUCTION in before) == (variant in ("system", "python")) and INSTRUCTION not in after


def test_small_sets_are_sampled_sixteen_times(manager):
    names = [f"cft_{benchmark}_sampled" for benchmark in SAMPLED]
    found, lm = scores(manager, names, lambda gold, count: f"\\boxed{{{gold if count <= 4 else 1000 + count}}}")
    assert len(lm.asked) == 16 * sum(len(FILES[benchmark][2]) for benchmark in SAMPLED)
    assert all((s["do_sample"], s["temperature"], s["top_p"]) == (True, 0.6, 0.95) for _, s in lm.asked)
    for name in names:
        assert [found[name][f"{m},none"] for m in ("exact_match", "pass_at_k", "maj_at_k")] == [0.25, 1.0, 1.0], name


@pytest.mark.parametrize("benchmark", FILES)
def test_sources_are_pinned_and_licences_named(benchmark, manager):
    source = load(manager, f"cft_{benchmark}").config.dataset_kwargs["items"]
    assert source["task"] == f"cft_{benchmark}"
    if "hub" in source:
        assert re.fullmatch("[0-9a-f]{40}", source["revision"])
    else:
        assert re.match(r"https://raw\.githubusercontent\.com/[\w-]+/[\w.-]+/[0-9a-f]{40}/", source["url"])
        assert re.fullmatch("[0-9a-f]{64}", source["sha256"])
    (file,) = TASKS.rglob(f"cft_{benchmark}.yaml")
    comment = " ".join(line for line in file.read_text().splitlines() if line.startswith("#"))
    assert re.search(r"\b(MIT|Apache-2\.0|CC BY)\b", comment)


def test_the_plain_command_line_reads_a_folder_and_a_file(data, written, tmp_path):
    metadata = {"data_dir": str(data), "cft_aime25": str(data / "amc23" / "test.jsonl")}
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "dummy", "--log_samples"]
    command += ["--include_path", str(written), "--output_path", str(tmp_path)]
    command += ["--tasks", "cft_aime25,cft_bbeh_time_plain", "--metadata", json.dumps(metadata)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    logged = {}
    for path in tmp_path.rglob("samples_*.jsonl"):
        lines = path.read_text().splitlines()
        logged[path.name.rpartition("_")[0]] = [json.loads(line)["doc"]["question"] for line in lines]
    assert logged["samples_cft_aime25"] == ["Far?"]
    assert logged["samples_cft_bbeh_time_plain"] == ["Which day?", "What date?", "And then?"]


@pytest.mark.skipif("CFT_TEST_BENCHMARKS" not in os.environ, reason="CFT_TEST_BENCHMARKS names no folder")
@pytest.mark.parametrize("benchmark", FILES)
def test_all_real_golds_are_accepted(benchmark):
    folder = os.environ["CFT_TEST_BENCHMARKS"]
    docs = list(load(manager_of(data_dir=folder), f"cft_{benchmark}").eval_docs)
    assert len(docs) == REAL_COUNTS[benchmark]
    assert [d for d in docs if grade(d["answer"], f"\\boxed{{ ${d['answer']}$ }}").outcome != "correct"] == []
