"""The report that is written from graded answers, and what it refuses."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from PIL import Image
from rich.console import Console

from cft.errors import EvalError
from cft.files import write_jsonl
from eval.report.report import print_table
from tests.support.reports import make_rows, report, save_arm

HOSTILE = "a | b ``` c\n`````\n</pre><script>x</script>\n# no heading\n$x$ \\boxed{7} \x1b[31m [bold]red[/bold]"


@pytest.fixture
def gaining(tmp_path: Path) -> Path:
    """100 items: 20 correct in both, 18 gained (12 of them unboxed before), 2 lost, 60 wrong in both."""
    base = ["correct"] * 20 + ["no_answer"] * 12 + ["wrong"] * 6 + ["correct"] * 2 + ["wrong"] * 60
    adapter = ["correct"] * 38 + ["wrong"] * 2 + ["wrong"] * 60
    save_arm(tmp_path / "eval", make_rows(base, "base"))
    save_arm(tmp_path / "eval", make_rows(adapter, "adapter"))
    return tmp_path


def test_json_has_the_agreed_shape_and_markdown_says_the_answer_first_with_three_examples_each_way(gaining: Path):
    returned = report(gaining)
    stored = json.loads((gaining / "report" / "report.json").read_text())
    assert stored == returned
    assert (stored["recipe"], stored["task"]) == ("demo", "sums")
    base, adapter = stored["arms"]
    assert (base["name"], adapter["name"]) == ("base", "adapter")
    assert (base["accuracy"], adapter["accuracy"]) == (0.22, 0.38)
    assert base["ci"] == pytest.approx([0.1500, 0.3107], abs=2e-4)  # Wilson by hand: (22 + z2/2 -+ ...) / (100 + z2)
    assert base["outcomes"] == {"correct": 22, "wrong": 66, "no_answer": 12, "truncated": 0, "ungradable": 0}
    assert (base["n"], base["tokens_per_answer"], base["seconds"]) == (100, 10.0, 83.0)
    (comparison,) = stored["comparisons"]
    assert (comparison["arm"], comparison["against"]) == ("adapter", "base")
    assert comparison["difference"] == pytest.approx(0.16)
    assert (comparison["gained"], comparison["lost"]) == (18, 2)
    assert comparison["mcnemar_p"] == pytest.approx(2 * (1 + 20 + 190) / 2**20)
    assert 0 < comparison["ci"][0] < 0.16 < comparison["ci"][1]
    assert comparison["flipped"] == {"gained": list(range(20, 38)), "lost": [38, 39]}
    assert stored["environment"]["libraries"] == {"torch": "2.13.0"}
    assert [task["task"] for task in stored["tasks"]] == ["sums"]
    text = (gaining / "report" / "report.md").read_text()
    first = text.split("\n\n")[1]
    assert "from 22.0 % (base) to 38.0 % (adapter)" in first
    assert "+16.0 points" in first and "p < 0.001" in first and "n = 100" in first
    assert "base gave no box on 12 of the 18 gained questions" in text
    assert "![" in text and "(report.png)" in text
    assert "1 min 23 s" in text and "1.5 GiB" in text
    assert "cft run demo seed=1" in text and "torch 2.13.0" in text
    for item in (20, 28, 37, 38, 39):  # first, middle and last gained; both lost
        assert f"base answers item {item}\n" in text and f"adapter answers item {item}\n" in text
    assert text.count("**Item ") == 5
    assert "adapter answers item 21\n" not in text


def test_no_difference_is_called_no_difference(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["correct"] * 5 + ["wrong"] * 15, "base"))
    save_arm(tmp_path / "eval", make_rows(["wrong"] * 3 + ["correct"] * 6 + ["wrong"] * 11, "adapter"))
    assert not report(tmp_path)["comparisons"][0]["shown"]
    text = (tmp_path / "report" / "report.md").read_text()
    assert text.split("\n\n")[1].startswith("**No difference was shown")
    assert "from 25.0 % (base) to 30.0 % (adapter)" in text


def test_short_bootstrap_interval_is_not_believed(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["correct"] * 97 + ["wrong"] * 3, "base"))
    save_arm(tmp_path / "eval", make_rows(["correct"] * 100, "adapter"))
    assert report(tmp_path)["comparisons"][0]["ci"][0] > 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert text.split("\n\n")[1].startswith("**No difference was shown")
    assert "too few answers changed" in text


def test_an_adapter_that_answers_like_the_base_is_a_loud_warning(tmp_path: Path):
    outcomes, responses = ["correct", "wrong", "no_answer"], ["a", "b", "c"]
    for arm in ("base", "adapter"):
        save_arm(tmp_path / "eval", make_rows(outcomes, arm, responses=responses))
    result = report(tmp_path)
    assert any("seems not to be applied" in warning for warning in result["warnings"])
    assert "> **WARNING**" in (tmp_path / "report" / "report.md").read_text()
    save_arm(tmp_path / "eval", make_rows(outcomes, "adapter", responses=["a", "b", "d"]))
    assert not report(tmp_path)["warnings"]


def test_many_answers_at_the_limit_are_a_warning(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["correct", "truncated", "wrong"], "base"))
    (warning,) = report(tmp_path, arms=("base",))["warnings"]
    assert "1 of 3" in warning and "eval.max_new_tokens" in warning


def test_hostile_answers_and_golds_stay_inside_their_code(tmp_path: Path):
    base = make_rows(["wrong", "correct"], "base", responses=[HOSTILE, "x"])
    adapter = make_rows(["correct", "correct"], "adapter", responses=["y", "z"])
    base[0]["gold"] = adapter[0]["gold"] = "`a` ``b`` **c** <i>"
    save_arm(tmp_path / "eval", base)
    save_arm(tmp_path / "eval", adapter)
    report(tmp_path)
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").parse(text)
    expected = HOSTILE.replace("\x1b", "\ufffd") + "\n"
    assert expected in [token.content for token in tokens if token.type == "fence"]
    outside = "".join(token.content for token in tokens if token.type in ("inline", "html_block"))
    assert "script" not in outside and "no heading" not in outside
    spans = [child.content for token in tokens for child in token.children or [] if child.type == "code_inline"]
    assert "`a` ``b`` **c** <i>" in spans


def test_a_long_answer_keeps_its_beginning_and_its_end(tmp_path: Path):
    long = "START " + "so " * 3000 + "\\boxed{42}"
    save_arm(tmp_path / "eval", make_rows(["wrong"], "base", responses=[long]))
    save_arm(tmp_path / "eval", make_rows(["correct"], "adapter"))
    report(tmp_path)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "START so" in text and "\\boxed{42}" in text and "characters left out …" in text
    assert len(text) < 6000


def test_the_same_answers_give_the_same_files(gaining: Path):
    pictures = [f"sums-{name}.png" for name in ("outcomes", "changes")]
    names = ["report.json", "report.md", "report.html", "report.png", *pictures]
    report(gaining)
    before = [(gaining / "report" / name).read_bytes() for name in names]
    path = gaining / "eval" / "sums" / "adapter" / "answers.jsonl"  # items are paired by id, not by their order
    write_jsonl(path, [json.loads(line) for line in reversed(path.read_text().splitlines())])
    report(gaining)
    assert [(gaining / "report" / name).read_bytes() for name in names] == before
    assert sorted(path.name for path in (gaining / "report").iterdir()) == sorted(names)


@pytest.mark.parametrize("arms", [1, 2, 6])
def test_the_picture_is_a_readable_png_for_any_number_of_arms(tmp_path: Path, arms: int):
    names = ("base", "adapter", "$odd$ name_with_|_and_a_very_long_tail", "c", "d", "e")[:arms]
    for shift, name in enumerate(names):
        save_arm(tmp_path / "eval", make_rows((["wrong"] * 5 + ["correct"] * 5)[shift:] + ["truncated"] * shift, name))
    report(tmp_path, arms=names)
    with Image.open(tmp_path / "report" / "report.png") as image:
        image.verify()
    assert image.format == "PNG" and image.width >= 900


def test_several_tasks_and_arms(tmp_path: Path):
    for task in ("sums", "products"):
        for arm, correct in (("base", 10), ("adapter", 30), ("sampling", 12)):
            save_arm(tmp_path / "eval", make_rows(["correct"] * correct + ["wrong"] * (40 - correct), arm, task))
    result = report(tmp_path, arms=("base", "adapter", "sampling"), tasks=("sums", "products"))
    assert result["task"] == "sums" and [task["task"] for task in result["tasks"]] == ["sums", "products"]
    assert [comparison["arm"] for comparison in result["tasks"][1]["comparisons"]] == ["adapter", "sampling"]
    adapter, sampling = result["comparisons"]
    assert adapter["p_holm"] == pytest.approx(2 * adapter["p"])
    assert sampling["p_holm"] == pytest.approx(0.5)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## sums" in text and "## products" in text and "Holm" in text


def test_without_a_base_scores_stand_alone(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["correct", "wrong"], "adapter"))
    result = report(tmp_path, arms=("adapter",))
    assert result["comparisons"] == []
    assert "adapter scores 50.0 % on sums" in (tmp_path / "report" / "report.md").read_text()


def test_what_was_not_measured_is_a_dash(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["no_answer"], "base"), seconds=None, peak_memory_mb=None)
    assert report(tmp_path, arms=("base",))["arms"][0]["seconds"] is None
    text = (tmp_path / "report" / "report.md").read_text()
    for fact in ("accuracy if boxed", "time", "peak memory"):
        assert f"| {fact} | – |" in text


def test_table_for_the_console_shows_names_as_they_are_and_warnings(gaining: Path, tmp_path: Path):
    out = io.StringIO()
    print_table(report(gaining), Console(file=out, width=80))
    text = out.getvalue()
    assert "22.0 %" in text and "38.0 %" in text and "15.0 to 31.1" in text
    assert "McNemar p < 0.001" in text
    arms = ("base", "[red]x[red]")
    for arm in arms:
        save_arm(tmp_path / "eval", make_rows(["wrong"] * 3, arm, responses=["same"] * 3))
    out = io.StringIO()
    print_table(report(tmp_path, arms=arms), Console(file=out, width=100))
    assert "[red]x[red]" in out.getvalue()
    assert "WARNING" in out.getvalue()


def refuse(folder: Path, *fragments: str) -> None:
    """The report is refused with a message that holds every fragment, and nothing is written."""
    with pytest.raises(EvalError) as caught:
        report(folder)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert not (folder / "report").exists()


def test_missing_arm(tmp_path: Path):
    save_arm(tmp_path / "eval", make_rows(["correct"], "base"))
    refuse(tmp_path, "adapter", "cft eval")


@pytest.mark.parametrize(
    ("file", "damage", "fragments"),
    [
        ("adapter/answers.jsonl", lambda text: "", ["answers.jsonl", "is empty", "cft eval"]),
        ("adapter/answers.jsonl", None, ["answers.jsonl", "is missing", "cft eval"]),
        ("adapter/arm.json", None, ["has not finished", "cft eval"]),
        ("adapter/answers.jsonl", lambda text: text[: text[:-1].rindex("\n") + 1], ["99", "100"]),
        ("adapter/answers.jsonl", lambda text: text[:-20], ["line 100", "cft eval"]),
        ("base/arm.json", lambda text: "{torn", ["arm.json", "cft eval"]),
        ("base/arm.json", lambda text: "\ufeff", ["arm.json", "cft eval"]),
        ("base/arm.json", lambda text: "[1, 2]", ["arm.json", "is a JSON list, not an object", "cft eval"]),
    ],
)
def test_damaged_files_are_named(gaining: Path, file: str, damage: Callable[[str], str] | None, fragments: list[str]):
    path = gaining / "eval" / "sums" / file
    path.write_text(damage(path.read_text())) if damage else path.unlink()
    refuse(gaining, *fragments)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"outcome": "great"}, "great"),
        ({"outcome": None}, "outcome"),
        ({"tokens": "ten"}, "tokens"),
        ({"doc_id": 3}, "doc_id 3"),
        ({"doc_id": True}, "doc_id"),
        ({"response": None}, "response"),
    ],
)
def test_faulty_row_is_named_by_its_line(gaining: Path, change: dict, fragment: str):
    path = gaining / "eval" / "sums" / "adapter" / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[6].update(change)
    write_jsonl(path, rows)
    refuse(gaining, "line 7", fragment)


@pytest.mark.parametrize(
    ("key", "value", "fragments"),
    [
        ("doc_id", 400, ["different items", "4, 400"]),
        ("prompt_sha256", "0000", ["prompt_sha256", "1 of 100", "doc_id 4"]),
        ("gold", "0000", ["gold", "1 of 100", "doc_id 4"]),
    ],
)
def test_arms_with_different_items_prompts_or_golds(gaining: Path, key: str, value, fragments: list[str]):
    rows = make_rows(["correct"] * 100, "adapter")
    rows[4][key] = value
    save_arm(gaining / "eval", rows)
    refuse(gaining, *fragments, "score both arms again")
