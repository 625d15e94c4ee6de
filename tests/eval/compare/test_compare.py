"""Several runs on one page: which arms there are, what they are called, and what is compared with what."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import EvalError, RunError
from cft.files import write_json
from cft.runs import Run
from eval.compare.runs import build_comparison, compare_runs, print_comparison
from eval.statistics.seeds import seed_effect
from tests.support.scored_runs import RIGHT, make_run, outcomes, rows_of, save_arm


def compared(*runs: Run, **options) -> tuple[dict, dict]:
    report, answers = build_comparison(runs, **options)
    return report, answers["sums"]


def against(report: dict) -> dict[str, str]:
    return {pair["arm"]: pair["against"] for pair in report["comparisons"]}


def test_runs_of_two_recipes_share_their_base_and_are_each_compared_with_it(tmp_path):
    one = make_run(tmp_path, "critiques", outcomes(10), outcomes(20))
    two = make_run(tmp_path, "answers", outcomes(10), outcomes(9))
    report, answers = compared(one, two)
    assert list(answers) == ["base", "critiques adapter", "answers adapter"]
    pairs = {c["arm"]: c for c in report["comparisons"]}
    assert {c["against"] for c in pairs.values()} == {"base"}
    assert pairs["critiques adapter"]["difference"] == pytest.approx(0.25)
    assert (pairs["answers adapter"]["gained"], pairs["answers adapter"]["lost"]) == (0, 1)
    assert pairs["critiques adapter"]["p_holm"] == pytest.approx(2 * pairs["critiques adapter"]["p"])
    assert report["warnings"] == [] and report["seeds"] == {}
    assert report["environment"]["models"] == {"critiques": "qwen", "answers": "qwen"}


def test_runs_of_one_recipe_are_told_apart_by_the_first_digits_of_their_fingerprints(tmp_path):
    runs = [make_run(tmp_path, "demo", outcomes(10), outcomes(20), rate=rate) for rate in ("1.0e-4", "2.0e-4")]
    _, answers = compared(*runs)
    assert list(answers) == ["base", *(f"demo/{run.path.name[:4]} adapter" for run in runs)]


def test_the_same_run_twice_or_one_run_is_its_own_report(tmp_path):
    run = make_run(tmp_path, "demo", outcomes(10), outcomes(20))
    report, answers = compared(run, Run(tmp_path / "runs" / "demo" / ".." / "demo" / run.path.name))
    assert list(answers) == ["base", "adapter"]
    assert any("Only one run" in warning for warning in report["warnings"])


def test_seeds_of_one_recipe_get_their_mean_with_the_interval_for_other_seeds(tmp_path):
    base, after = outcomes(10), [outcomes(18), outcomes(20), outcomes(14, skip=2)]
    runs = [make_run(tmp_path, "demo", base, given, seed=seed) for seed, given in enumerate(after)]
    other = make_run(tmp_path, "other", base, outcomes(10, skip=1))
    report, answers = compared(*runs, other)
    name = "demo mean of 3 seeds adapter"
    assert list(answers)[-1] == name and len(answers[name][1]) == 3 * 40
    assert [row["sample"] for row in answers[name][1][:3]] == [0, 1, 2]
    table = [[(a == RIGHT) - (b == RIGHT) for a, b in zip(given, base, strict=True)] for given in after]
    expected = seed_effect(table)
    assert report["seeds"] == {name: expected}
    mean = next(c for c in report["comparisons"] if c["arm"] == name)
    assert mean["difference"] == pytest.approx(expected["difference"]) == pytest.approx((8 + 10 + 4) / 3 / 40)
    assert (mean["ci"], mean["p"], mean["test"]) == (expected["ci"], expected["p"], "seeds")
    assert all(c["p_holm"] >= c["p"] for c in report["comparisons"]) and len(report["comparisons"]) == 5
    assert any("+20.0, +25.0, +10.0 points" in warning for warning in report["warnings"])
    arm = next(arm for arm in report["arms"] if arm["name"] == name)
    assert arm["pass_at_k"] == {"1": pytest.approx(52 / 120)}  # three models are no samples of one


def test_seeds_whose_bases_differ_are_compared_with_the_mean_of_their_bases(tmp_path):
    runs = [make_run(tmp_path, "demo", outcomes(10 + seed), outcomes(20), seed=seed) for seed in range(2)]
    report, answers = compared(*runs)
    assert {"mean of 2 seeds base", "mean of 2 seeds adapter"} < set(answers)
    mean = next(c for c in report["comparisons"] if c["arm"] == "mean of 2 seeds adapter")
    assert mean["against"] == "mean of 2 seeds base"
    assert mean["difference"] == pytest.approx((10 + 9) / 2 / 40)
    assert against(report) == {
        **{f"demo/{run.path.name[:4]} adapter": f"demo/{run.path.name[:4]} base" for run in runs},
        "mean of 2 seeds adapter": "mean of 2 seeds base",
    }


def test_two_settings_of_one_recipe_are_no_two_seeds(tmp_path):
    runs = [make_run(tmp_path, "demo", outcomes(10), outcomes(20), seed=s, rate=f"{s + 1}.0e-4") for s in range(2)]
    report, answers = compared(*runs)
    assert report["seeds"] == {} and not any("mean" in arm for arm in answers)


def test_each_model_has_its_own_base(tmp_path):
    one = make_run(tmp_path, "small", outcomes(10), outcomes(20))
    two = make_run(tmp_path, "large", outcomes(30), outcomes(35), model="llama", salt="x")
    report, answers = compared(one, two)
    assert against(report) == {"small adapter": "qwen base", "large adapter": "llama base"}
    assert sorted(answers) == sorted(arm["name"] for arm in report["arms"]) and len(answers) == 4
    warnings = "\n".join(report["warnings"])
    assert "models differ: qwen (qwen base, small adapter), llama" in warnings
    assert "llama base, large adapter read other prompts than qwen base" in warnings
    assert "differences" in report["behaviour"]["large adapter"]


def test_only_items_with_the_same_question_and_gold_are_compared_whatever_their_number(tmp_path):
    one = make_run(tmp_path, "early", outcomes(10, n=30), outcomes(15, n=30))
    two = make_run(tmp_path, "late", outcomes(10, n=30), outcomes(30, n=30), first=20)  # items 20 to 49
    report, answers = compared(one, two)
    assert all(
        [row["question"] for row in rows] == [f"What is {i} + 1?" for i in range(20, 30)]
        for _, rows in answers.values()
    )
    assert all([row["doc_id"] for row in rows] == list(range(20, 30)) for _, rows in answers.values())
    assert any("40 of 50 items are left out" in warning for warning in report["warnings"])
    accuracy = {arm["name"]: arm["accuracy"] for arm in report["arms"]}
    assert (accuracy["early adapter"], accuracy["late base"], accuracy["late adapter"]) == (0.0, 1.0, 1.0)


def test_other_limits_and_graders_are_warned_of(tmp_path):
    one = make_run(tmp_path, "short", outcomes(10), outcomes(20))
    two = make_run(tmp_path, "long", outcomes(12), outcomes(20), limit=512, grader="g2")
    warnings = "\n".join(compared(one, two)[0]["warnings"])
    assert "max_new_tokens differs: 448 (short base, short adapter), 512 (long base, long adapter)" in warnings
    assert "different versions of the grader: g1 (short base" in warnings


def test_tasks_that_only_some_runs_have_are_left_out_or_chosen_by_name(tmp_path):
    one = make_run(tmp_path, "one", outcomes(10), outcomes(20), tasks="sums, more")
    two = make_run(tmp_path, "two", outcomes(10), outcomes(20))
    report, _ = build_comparison([one, two])
    assert [task["task"] for task in report["tasks"]] == ["sums"]
    assert "Task more is left out: only one scored it." in report["warnings"]
    assert [task["task"] for task in build_comparison([one], task="more")[0]["tasks"]] == ["more"]
    with pytest.raises(EvalError, match=r"--task sum: no run has it. Did you mean sums"):
        build_comparison([one, two], task="sum")
    with pytest.raises(EvalError, match=r"--task more: two did not score it"):
        build_comparison([one, two], task="more")
    three = make_run(tmp_path, "three", outcomes(10), outcomes(20), tasks="others")
    with pytest.raises(EvalError, match=r"no task in common: sums .two.; others .three."):
        build_comparison([two, three])


def test_runs_that_cannot_be_compared_say_why(tmp_path):
    good = make_run(tmp_path, "good", outcomes(10), outcomes(20))
    unfinished = make_run(tmp_path, "unfinished", outcomes(10), outcomes(20), finished=False)
    with pytest.raises(RunError, match="the eval stage is not finished"):
        build_comparison([good, unfinished])
    elsewhere = make_run(tmp_path, "elsewhere", outcomes(10), outcomes(20), first=500)
    with pytest.raises(EvalError, match=r"no item, by its question and gold answer.*elsewhere adapter 40"):
        build_comparison([good, elsewhere])
    damaged = make_run(tmp_path, "damaged", outcomes(10), outcomes(20))
    file = damaged.path / "eval" / "sums" / "adapter" / "answers.jsonl"
    file.write_text(file.read_text()[:-9])
    with pytest.raises(EvalError, match=r"answers.jsonl: 1 faulty line"):
        build_comparison([good, damaged])


def test_an_arm_json_without_settings_or_fingerprint_is_compared_and_never_merged(tmp_path):
    one, two = (make_run(tmp_path, name, outcomes(10), outcomes(20)) for name in ("one", "two"))
    for run in (one, two):
        for path in run.path.glob("eval/*/*/arm.json"):
            write_json(path, {"n": 40})
    report, answers = compared(one, two)
    assert sorted(answers) == ["one adapter", "one base", "two adapter", "two base"]
    assert against(report) == {"one adapter": "one base", "two adapter": "two base"}


def test_several_samples_an_item_stay_together(tmp_path):
    one = make_run(tmp_path, "one", outcomes(10), outcomes(20))
    two = make_run(tmp_path, "two", outcomes(10), outcomes(20))
    save_arm(two, rows_of("sums", "adapter", outcomes(100, n=160), samples=4), fingerprint="four")
    report, answers = compared(one, two)
    assert len(answers["two adapter"][1]) == 160
    assert next(arm for arm in report["arms"] if arm["name"] == "two adapter")["samples"] == 4
    assert next(c for c in report["comparisons"] if c["arm"] == "two adapter")["difference"] == pytest.approx(15 / 40)


def test_the_terminal_gets_a_row_an_arm(tmp_path):
    one = make_run(tmp_path, "one", outcomes(10), outcomes(20))
    two = make_run(tmp_path, "two", outcomes(10), outcomes(9), limit=512)
    console = Console(file=io.StringIO(), width=160)
    print_comparison(build_comparison([one, two])[0], console)
    lines = console.file.getvalue().split("\n")
    row = next(line for line in lines if "one adapter" in line)
    assert all(cell in row for cell in ("50.0 %", "one base", "+25.0", "0.002"))
    assert any("note: max_new_tokens differs" in line for line in lines)


def test_the_pages_are_written_where_asked_or_under_the_names_of_the_runs(tmp_path):
    runs = [make_run(tmp_path, "demo", outcomes(10), outcomes(18 + seed), seed=seed) for seed in range(2)]
    report = compare_runs(runs, tmp_path / "runs")
    out = Path(report["out"])
    assert out == tmp_path / "runs" / "compare" / "+".join(f"demo-{run.path.name[:4]}" for run in runs)
    for name in ("report.md", "report.html", "report.json", "report.png"):
        assert (out / name).stat().st_size > 0
    stored = json.loads((out / "report.json").read_text())
    assert stored == {key: value for key, value in report.items() if key != "out"}
    assert "mean of 2 seeds adapter" in (out / "report.md").read_text()
    assert compare_runs(runs, tmp_path / "runs", out=tmp_path / "here")["out"] == str(tmp_path / "here")
    with pytest.raises(EvalError, match="Choose another folder with --out"):
        compare_runs(runs, tmp_path / "runs", out=tmp_path / "recipe.yaml")
