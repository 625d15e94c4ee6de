"""What a report finds: controls, groups, training steps, samples, published scores, and the answer in one sentence."""

import json
from pathlib import Path

import pytest

from cft.errors import EvalError
from cft.files import write_json
from eval.answering.answers import check_same_questions, load_arm
from eval.report import findings, markdown
from eval.report.report import build_report, write_report
from eval.statistics.statistics import compare
from tests.support.reports import ABOUT, arm, make_rows, report, save_arm, task_of


def test_prompts_are_the_same_within_a_variant_only():
    rows = {name: arm(name, 3)[1] for name in ("base", "base@fewshot", "adapter", "adapter@fewshot")}
    check_same_questions("t", rows)
    rows["adapter@fewshot"][5]["prompt_sha256"] = "other"
    with pytest.raises(EvalError, match=r"prompt_sha256 differs between arms 'base@fewshot' and 'adapter@fewshot'"):
        check_same_questions("t", rows)
    rows["base@fewshot"][5]["question"] = "other"
    with pytest.raises(EvalError, match=r"question differs between arms 'base' and 'base@fewshot' on 1 of 40"):
        check_same_questions("t", rows)


def test_a_trained_arm_is_set_against_the_best_prompt_and_against_its_own():
    scores = {"base": 5, "base@plain": 2, "base@fewshot": 20, "adapter": 22, "adapter@plain": 30, "step-3": 9}
    found = task_of({name: arm(name, correct) for name, correct in scores.items()})
    pairs = {control["arm"]: control for control in found["controls"]}
    against = {name: control["against"] for name, control in pairs.items()}
    assert against == {"adapter": "base@fewshot", "adapter@plain": "base@plain"}
    assert pairs["adapter"]["gained"] == 2 and pairs["adapter"]["difference"] == pytest.approx(0.05)
    first, second = markdown.answer(found)
    assert first.startswith("demo moved accuracy on cft_math500 from 12.5 % (base) to 55.0 % (adapter)")
    assert second.startswith("adapter is not shown to differ from base@fewshot, a prompt without training: +5.0 points")


def test_prompts_alone_are_told_as_such():
    found = task_of({name: arm(name, n) for name, n in (("base", 10), ("base@plain", 8), ("base@system", 24))})
    (sentence,) = markdown.answer(found)
    assert "from 20.0 % (base@plain) to 60.0 % (base@system), n = 40" in sentence
    assert "Shown to differ from base, after Holm's correction: base@system." in sentence  # 2 lost are too few
    assert any(line.startswith("base@system moved accuracy") for line in markdown.headlines(found))


def test_accuracy_by_group():
    found = task_of({"base": arm("base", 10), "adapter": arm("adapter", 20, start=10)})["groups"]
    assert list(found) == ["subject"]
    algebra, geometry = found["subject"]
    assert (algebra["group"], algebra["n"], geometry["group"]) == ("Algebra", 20, "Geometry")
    assert algebra["arms"]["base"]["accuracy"] == algebra["arms"]["adapter"]["accuracy"] == 0.5
    assert geometry["arms"]["adapter"]["difference"] == 0.5 and geometry["arms"]["adapter"]["p_holm"] < 0.01
    assert "difference" not in geometry["arms"]["base"]


def test_training_steps_start_at_the_base_and_end_at_the_adapter(tmp_path: Path):
    names = {"base": 2, "step-8": 6, "adapter": 9, "step-4": 4}
    for name, correct in names.items():
        save_arm(tmp_path / "eval", make_rows(["correct"] * correct + ["wrong"] * (10 - correct), name))
    assert [point["arm"] for point in report(tmp_path, tuple(names))["steps"]] == ["base", "step-4", "step-8"]
    write_json(tmp_path / "train" / "metrics.json", {"summary": {"steps": 12}})
    (tmp_path / "recipe.yaml").write_text("name: demo\n")
    found = [(point["step"], point["arm"]) for point in report(tmp_path, tuple(names))["steps"]]
    assert found == [(0, "base"), (4, "step-4"), (8, "step-8"), (12, "adapter")]
    assert (tmp_path / "report" / "sums-steps.png").is_file()
    assert "```text\nname: demo\n```" in (tmp_path / "report" / "report.md").read_text()
    assert report(tmp_path, ("base", "adapter"))["steps"] == []


def test_samples_of_one_item_are_kept_apart_and_counted(tmp_path: Path):
    for name, right in (("base", 1), ("adapter", 3)):
        rows = []
        for sample in range(4):
            rows += [
                row | {"sample": sample, "answer": "2", "same_as": 0}
                for row in make_rows(["correct" if sample < right else "wrong"] * 6, name)
            ]
        folder = save_arm(tmp_path / "eval", rows)
    _, rows = load_arm(folder, "sums", "adapter")
    assert [(row["doc_id"], row["sample"]) for row in rows[:5]] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    found = report(tmp_path)
    assert found["arms"][1]["pass_at_k"]["1"] == pytest.approx(0.75) and found["arms"][1]["samples"] == 4
    assert found["comparisons"][0]["flipped"] == {"gained": list(range(6)), "lost": []}
    text = (tmp_path / "report" / "report.md").read_text()
    assert "n = 6 × 4 samples" in text and "sign-flip p" in text and "adapter maj@k" in text
    path = folder / "answers.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    write_json(folder / "arm.json", {"n": 23})
    with pytest.raises(EvalError, match="doc_id 5 has 3 answers where others have 4"):
        report(tmp_path)


def test_a_sample_that_stands_twice_is_named(tmp_path: Path):
    rows = [make_rows(["wrong"], "base")[0] | {"sample": sample} for sample in (0, 1, 1)]
    save_arm(tmp_path / "eval", rows)
    with pytest.raises(EvalError, match=r"line 3: doc_id 0, sample 1, stands on line 2 already"):
        report(tmp_path, ("base",))


def test_published_scores_stand_beside_ours_with_what_makes_them_differ():
    found = task_of({"base": arm("base", 10), "base@system": arm("base@system", 20)})["published"]
    assert found["benchmark"] == "math500" and found["ours"]["base"]["model"] == "Qwen2.5-Math-1.5B"
    assert found["ours"]["base@system"]["prompt"] == "qwen25-math-cot"
    assert found["scores"][0]["model"] == "Qwen2.5-Math-1.5B" and found["range"]["low"] < found["range"]["high"]
    for score in found["scores"]:
        assert bool(score["comparable_with"]) != bool(score["reasons"])
    prompts = {score["protocol"]["prompt"]: score["reasons_against"] for score in found["scores"]}
    assert prompts["qwen25-math-cot"] == "base@system"  # the arm with the paper's prompt is the nearest one
    assert findings.published("cft_wordproblems", {"base": arm("base", 10)}) is None


def test_a_step_that_validation_items_chose_is_no_last_step_beside_published_scores(tmp_path: Path):
    for name, correct in {"base": 4, "adapter": 8, "adapter@plain": 3, "step-4": 6}.items():
        about, rows = arm(name, correct)
        write_json(save_arm(tmp_path / "eval", rows) / "arm.json", about | {"n": len(rows)})

    def selections() -> dict[str, str]:
        found = report(tmp_path, ("base", "adapter", "adapter@plain", "step-4"), tasks=("cft_math500",))
        return {name: protocol["selection"] for name, protocol in found["published"]["ours"].items()}

    assert set(selections().values()) == {"none"}
    point = {"step": 8, "accuracy": 0.5, "ci": [0.3, 0.7], "n": 30, "tokens": 9}
    point |= dict.fromkeys(("leaked", "truncated", "no_box"), 0)
    curve = {"task": "cft_math_validation", "rule": "best", "selected_step": 8, "last_step": 12, "stopped_early": False}
    write_json(tmp_path / "train" / "selection" / "curve.json", curve | {"points": [point]})
    chosen = {"adapter": "validation", "adapter@plain": "validation"}
    assert selections() == {"base": "none", **chosen, "step-4": "none"}


def test_an_elicitor_is_a_control_and_is_not_set_beside_published_scores():
    scores = {"base": 5, "base+toy": 20, "base@plain": 2, "adapter": 22, "adapter@plain+toy": 9, "base@plain+toy": 8}
    found = task_of({name: arm(name, correct) for name, correct in scores.items()})
    pairs = {control["arm"]: control["against"] for control in found["controls"]}
    assert pairs == {"adapter": "base+toy", "adapter@plain+toy": "base@plain+toy"}
    assert "base+toy, an elicitor without training: +5.0 points" in markdown.answer(found)[1]
    assert list(found["published"]["ours"]) == ["base", "base@plain", "adapter"]


def test_weights_that_were_quantised_are_not_taken_for_the_hubs():
    about = {"settings": ABOUT["settings"] | {"identity": {"kind": "wheels"}}}
    found = findings.published("cft_math500", {"base": (about, arm("base", 10)[1])})
    assert found["ours"]["base"]["precision"] == "4-bit, de-quantised to bfloat16"


def test_arms_that_hit_the_limit_share_one_warning():
    arms = {
        name: (ABOUT, make_rows(["truncated"] * cut + ["wrong"] * 8, name, "cft_math500"))
        for name, cut in (("base", 2), ("adapter", 2))
    }
    (warning,) = [text for text in task_of(arms)["warnings"] if "token limit" in text]
    assert "2 of 10 answers of base and 2 of 10 answers of adapter hit the token limit" in warning


def test_notes_of_a_comparison_are_warnings_of_every_task(tmp_path: Path):
    arms = {"a/1 base": arm("base", 10), "a/1 adapter": arm("adapter", 20)}
    found = build_report("a and b", {"x": arms, "y": arms}, {}, against="a/1 base", notes=["two models"])
    assert [task["warnings"][0] for task in found["tasks"]] == ["two models"] * 2
    assert found["comparisons"][0]["against"] == "a/1 base"
    assert json.loads(json.dumps(found)) == found


def test_a_report_without_a_run_folder_around_it(tmp_path: Path):
    save_arm(tmp_path, make_rows(["correct"], "base"))
    found = write_report("demo", tmp_path, tmp_path / "out", environment={}, arms=["base"], tasks=["sums"])
    assert found["steps"] == [] and "recipe_yaml" not in found["environment"]


def test_samples_that_are_all_one_text_are_a_warning():
    def sampled(texts: list[str]) -> dict:
        rows = [
            row | {"sample": sample, "response": text}
            for row in make_rows(["wrong"] * 5, "base")
            for sample, text in enumerate(texts)
        ]
        return task_of({"base": ({}, sorted(rows, key=lambda row: row["doc_id"]))})

    assert any("all samples of base are" in warning for warning in sampled(["a", "a"])["warnings"])
    assert not any("all samples" in warning for warning in sampled(["a", "b"])["warnings"])
    assert not any("all samples" in warning for warning in sampled(["a"])["warnings"])


def test_of_several_arms_one_is_shown_only_after_holms_correction():
    base, near = arm("base", 10), arm("adapter", 16)  # 6 gained, 0 lost: p = 0.03
    alone = task_of({"base": base, "adapter": near})
    assert alone["comparisons"][0]["shown"] and alone["comparisons"][0]["p"] < 0.05
    both = task_of({"base": base, "adapter": near, "merged": arm("merged", 11)})
    compared = both["comparisons"][0]
    assert compared["p"] == alone["comparisons"][0]["p"] and compared["p_holm"] > 0.05 and not compared["shown"]
    assert "not after Holm's correction" in markdown.headlines(both)[0]


@pytest.mark.parametrize(
    ("base", "arm", "verdict"),
    [
        ({"wrong": 20}, {"correct": 8, "wrong": 12}, "No. Of the +40.0 points"),
        ({"no_answer": 8, "wrong": 12}, {"correct": 8, "wrong": 12}, "Yes, as far as this can show. Of the"),
        (
            {"no_answer": 19, "wrong": 1},
            {"correct": 8, "wrong": 12},
            "That cannot be told: hardly a question was boxed",
        ),
        ({"wrong": 20}, {"wrong": 20}, "No gain was shown"),
    ],
)
def test_whether_it_is_just_format_is_said_as_far_as_boxes_show_it(base, arm, verdict):
    def rows_of(outcomes: dict[str, int]) -> list[dict]:
        said = [outcome for outcome, n in outcomes.items() for _ in range(n)]
        about = {"sample": 0, "response": "x", "tokens": 1, "finish_reason": "stop"}
        return [about | {"doc_id": i, "outcome": outcome} for i, outcome in enumerate(said)]

    comparison = compare(rows_of(base), rows_of(arm)) | {"arm": "adapter", "against": "base"}
    assert markdown.format_sentence(comparison).startswith(verdict)
