"""Reading a file of baselines: which protocol wins, and what is said of faults."""

from pathlib import Path

import pytest
import yaml

from cft.errors import EvalError
from eval.baselines.match import beside
from eval.baselines.schema import Protocol, load_baselines


def small_file() -> dict:
    """A file with two tables, in the form of baselines.yaml."""
    return {
        "models": {"M": "org/M-1B"},
        "benchmarks": {"a": {"items": 10}, "b": {"items": 10}, "both": {"mean_of": ["a", "b"]}},
        "prompts": {"p": "words", "q": "other words"},
        "graders": {"g": "strict"},
        "papers": {"x": {"title": "X", "arxiv": "1"}},
        "protocols": {
            "greedy": {
                **{"prompt": "p", "temperature": 0, "samples": 1, "grader": "g", "selection": "test"},
                "per_benchmark": {"b": {"temperature": 0.6, "samples": 4}},
            }
        },
        "tables": [
            {
                "paper": "x",
                "where": "T1",
                "checked": None,
                "protocol": "greedy",
                "rows": [
                    {"model": "M", "method": "base", "scores": {"a": 10, "b": "20.0 ± 1.5", "both": 15.0}},
                    {"model": "M", "method": "SFT", "data": "d", "scores": {"a": 40, "b": 50}}
                    | {"but": {"prompt": "q", "samples": 2}},
                ],
            }
        ],
    }


def written(folder: Path, content: dict) -> Path:
    path = folder / "baselines.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def test_a_score_with_our_very_protocol_is_comparable(tmp_path: Path):
    content = small_file()
    content["protocols"]["greedy"] |= {"max_tokens": 100, "precision": "bfloat16"}
    book = load_baselines(written(tmp_path, content))
    ours = book.of("a")[0].protocol.model_copy(update={"max_tokens": 100, "precision": "bfloat16"})
    (base, alike), (_, reasons) = beside(book, "a", ours)
    assert base.value == 10 and alike == []
    assert reasons == ["prompt q, ours p", "checkpoint chosen on the test benchmark itself"]


def test_a_row_overrides_its_benchmark_and_this_its_table(tmp_path: Path):
    book = load_baselines(written(tmp_path, small_file()))
    found = {(r.method, r.benchmark): r for r in book.rows}
    greedy = Protocol(model="M", prompt="p", temperature=0, samples=1, grader="g", selection="none")
    assert found["base", "a"].protocol == greedy
    assert found["base", "b"].protocol.temperature == 0.6 and found["base", "b"].protocol.samples == 4
    assert (found["base", "b"].value, found["base", "b"].spread) == (20.0, 1.5)
    sft = found["SFT", "b"].protocol
    assert (sft.prompt, sft.temperature, sft.samples, sft.selection) == ("q", 0.6, 2, "test")


def test_a_null_in_a_row_makes_a_field_unknown(tmp_path: Path):
    content = small_file()
    content["tables"][0]["rows"][0]["but"] = {"prompt": None}
    assert load_baselines(written(tmp_path, content)).rows[0].protocol.prompt is None


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path):
    content = small_file()
    content["benchmarks"]["both"]["mean_of"] = ["a", "c"]
    content["protocols"]["greedy"] |= {"prompt": "pp", "temprature": 1, "selection": "luck"}
    table = content["tables"][0]
    table["protocol"] = "greedyy"
    table["rows"][0]["scores"] = {"a": 101, "b": "about 20", "z": 1}
    table["rows"][1] |= {"model": "N", "but": {"max_tokens": 0}}
    del table["where"]
    path = written(tmp_path, content)
    with pytest.raises(EvalError) as caught:
        load_baselines(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 11 faults\n")
    for part in [
        'benchmarks.both.mean_of.1 = "c"',
        'protocols.greedy.prompt = "pp": is not among the prompts. Did you mean p?',
        "protocols.greedy.temprature = 1",
        'protocols.greedy.selection = "luck"',
        "tables.0.where",
        'tables.0.protocol = "greedyy": is not among the protocols. Did you mean greedy?',
        "tables.0.rows.0.scores.a.value = 101",
        'tables.0.rows.0.scores.b = "about 20": is no score',
        'tables.0.rows.0.scores.z = "z": is not among the benchmarks',
        'tables.0.rows.1.model = "N"',
        "tables.0.rows.1.but.max_tokens = 0",
    ]:
        assert part in message, message


def test_the_same_score_twice_is_refused(tmp_path: Path):
    content = small_file()
    row = content["tables"][0]["rows"][0]
    content["tables"][0]["rows"].append(row | {"scores": {"a": 11, "b": 21}})
    with pytest.raises(EvalError, match="2 faults") as caught:
        load_baselines(written(tmp_path, content))
    assert "M, base, a: two scores from arXiv 1, T1" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "a: [1,\n", None])
def test_a_file_that_is_no_mapping_or_missing_is_an_error_with_its_name(tmp_path: Path, text: str | None):
    path = tmp_path / "b.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EvalError, match=r"b\.yaml"):
        load_baselines(path)
