"""Published baselines: what the file holds, what is comparable and why not, and where papers contradict themselves."""

import pytest

from cft.errors import EvalError
from eval.baselines.match import beside, ranges, reasons_against
from eval.baselines.schema import Protocol, load_baselines
from eval.tasks.lm_tasks import TASKS_FOLDER

BOOK = load_baselines()
OURS = Protocol(
    model="Qwen2.5-Math-1.5B",
    prompt="qwen25-math-cot",
    temperature=0,
    samples=1,
    max_tokens=3072,
    grader="cft",
    precision="bfloat16",
    selection="validation",
)


def changed(protocol: Protocol, **fields) -> Protocol:
    return protocol.model_copy(update=fields)


def scores(benchmark: str, **fields) -> list[float]:
    """The values of a benchmark's rows whose attributes or protocol fields are `fields`."""
    return [
        row.value
        for row in BOOK.of(benchmark)
        if all((getattr(row, k) if hasattr(row, k) else getattr(row.protocol, k)) == v for k, v in fields.items())
    ]


# ---------------------------------------------------------------- the shipped file


def test_every_score_has_a_source_a_model_and_a_protocol():
    assert len(BOOK.rows) > 700
    for row in BOOK.rows:
        assert row.paper.title and row.where and row.source
        assert row.model in BOOK.models
        assert row.protocol.prompt is None or row.protocol.prompt in BOOK.prompts
        assert row.protocol.grader is None or row.protocol.grader in BOOK.graders
        assert row.checked is None or row.checked.strip()


def test_most_scores_were_checked_and_those_that_were_not_say_so():
    unchecked = [row for row in BOOK.rows if row.checked is None]
    assert 0 < len(unchecked) < len(BOOK.rows) / 4
    places = {row.where for row in unchecked if "one-shot-rlvr" in row.source.lower()}
    assert places >= {"Table 3", "Table 5", "Table 20"}


@pytest.mark.parametrize(
    ("benchmark", "fields", "values"),
    [
        # Qwen2.5-Math-1.5B untrained, by prompt: arXiv 2503.20783 Table 1, 2504.20571 Table 7, 2506.10947 Table 3
        ("math500", {"model": "Qwen2.5-Math-1.5B", "data": None, "prompt": "plain"}, [61.8]),
        ("math500", {"model": "Qwen2.5-Math-1.5B", "data": None, "prompt": "r1-template"}, [21.2]),
        ("math500", {"model": "Qwen2.5-Math-1.5B", "data": None, "prompt": "python-prefix"}, [60.4]),
        (
            "math500",
            {"model": "Qwen2.5-Math-1.5B", "data": None, "prompt": "qwen25-math-cot"},
            [35.8, 36.0, 39.6, 36.2, 33.0],
        ),
        ("math500", {"model": "Qwen2.5-Math-1.5B", "method": "PPO", "data": "one problem (π1)"}, [72.4]),
        ("mean6", {"model": "Qwen2.5-Math-7B", "method": "CFT", "where": "Table 1"}, [42.2]),
        ("bbeh_disambiguation", {"model": "Qwen2.5-14B"}, [9.2, 36.6]),
        ("gsm8k", {"model": "Qwen2.5-Math-7B", "data": None}, [91.6, 65.5]),
    ],
)
def test_scores_are_as_published(benchmark: str, fields: dict, values: list[float]):
    assert scores(benchmark, **fields) == values


def test_a_spread_and_the_number_of_seeds_are_kept():
    (row,) = [r for r in BOOK.of("cft_math500") if r.spread == 5.5]
    assert (row.value, row.model, row.protocol.samples, row.protocol.max_tokens) == (51.7, "Qwen2.5-Math-1.5B", 3, 4096)
    (aime,) = [r for r in BOOK.of("aime24") if r.row == row.row]
    assert (aime.value, aime.spread, aime.protocol.samples) == (11.3, 3.6, 10)


def test_published_scores_of_one_untrained_model_range_as_far_as_the_papers_do():
    found = ranges(BOOK, "cft_math500")
    low, *_, high = found["Qwen2.5-Math-1.5B"]
    assert (low.value, low.protocol.prompt, high.value, high.protocol.prompt) == (21.2, "r1-template", 61.8, "plain")
    assert found["Qwen2.5-Math-7B"][-1].protocol.prompt == "one-example"
    widths = [round(rows[-1].value - rows[0].value, 1) for rows in found.values()]
    assert widths == sorted(widths, reverse=True)
    assert all(row.data is None for rows in found.values() for row in rows)
    assert not ranges(BOOK, "mean_sampled")  # its base scores are pass@8


def test_a_range_can_leave_prompts_out():
    found = ranges(BOOK, "math500", leave_out=("r1-template",))
    small, large = found["Qwen2.5-Math-1.5B"], found["Qwen2.5-Math-7B"]
    assert (small[0].value, small[-1].value, large[0].value) == (33.0, 61.8, 49.4)


def test_only_known_means_are_not_the_mean_of_their_parts():
    by_row = {}
    for row in BOOK.rows:
        by_row.setdefault(row.row, {})[row.benchmark] = row.value
    gaps = {}
    for row in BOOK.rows:
        parts = BOOK.benchmarks[row.benchmark].mean_of
        if parts and by_row[row.row].keys() >= set(parts):
            mean = sum(by_row[row.row][part] for part in parts) / len(parts)
            if abs(mean - row.value) > 0.1 + 1e-9:  # parts and mean are each rounded to 0.1
                gaps[row.where, row.model, row.value] = round(mean, 2)
    # AIME24 "0.2" in that row must be 20.0 %: (20.0 + 45.8 + 69.0 + 21.3 + 34.7) / 5 = 38.16
    assert gaps == {("Table 1", "Qwen2.5-Math-7B", 38.2): 34.2, ("Table 1", "Qwen2.5-Math-1.5B", 22.2): 22.05}


def test_few_scores_are_such_as_no_count_of_right_answers_gives():
    found = set()
    for row in BOOK.rows:
        items, samples = BOOK.benchmarks[row.benchmark].items, row.protocol.samples
        if items and samples and row.spread is None:
            nearest = round(row.value * items * samples / 100) / (items * samples) * 100
            if abs(nearest - row.value) > 0.05 + 1e-9:  # scores are printed to 0.1
                found.add((row.benchmark, row.value))
    assert {("aime24", 0.2), ("amc", 20.0), ("amc", 22.5), ("amc23", 57.6)} <= found
    assert len(found) < 15  # else the number of questions would be wrong somewhere


def test_untrained_models_have_no_checkpoint_to_choose():
    assert {row.protocol.selection for row in BOOK.rows if row.data is None} == {"none"}
    assert {"test", "best per benchmark", "validation"} <= {row.protocol.selection for row in BOOK.rows}


def test_our_names_lead_to_the_published_one_and_other_models_keep_their_hub_id():
    for name in ("qwen2.5-math-1.5b", "Qwen/Qwen2.5-Math-1.5B", "qwen/qwen2.5-math-1.5b"):
        assert BOOK.model_name(name) == "Qwen2.5-Math-1.5B"
    assert BOOK.model_name("qwen2.5-coder-0.5b") == "Qwen/Qwen2.5-Coder-0.5B-Instruct"
    assert BOOK.model_name("some/folder") == "some/folder"


# ---------------------------------------------------------------- comparable or not


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("model", "Qwen2.5-Math-7B", "other model: Qwen2.5-Math-7B"),
        ("prompt", "plain", "prompt plain, ours qwen25-math-cot"),
        ("temperature", 0.6, "decoding at temperature 0.6, ours greedy"),
        ("max_tokens", 4096, "token limit 4096, ours 3072"),
        ("grader", "qwen", "grader: Without a box the last number (ours: Last box only)"),
        ("precision", "float32", "precision float32, ours bfloat16"),
        ("selection", "test", "checkpoint chosen on the test benchmark itself"),
        ("metric", "pass@8", "metric pass@8, ours accuracy"),
    ],
)
def test_each_difference_is_a_reason_in_both_directions(field: str, value, reason: str):
    graders = {"qwen": "Without a box the last number.", "cft": "Last box only."}
    other = changed(OURS, **{field: value})
    assert reasons_against(other, OURS, graders) == [reason]
    assert len(reasons_against(OURS, other, graders)) == 1


@pytest.mark.parametrize("field", ["prompt", "temperature", "max_tokens", "grader", "precision", "selection", "model"])
def test_what_one_side_does_not_state_is_a_reason(field: str):
    unknown = changed(OURS, **{field: None})
    (forth,), (back,) = reasons_against(unknown, OURS), reasons_against(OURS, unknown)
    assert "not stated" in forth and forth != back
    assert len(reasons_against(Protocol(), OURS)) == 7 and reasons_against(OURS, OURS) == []


def test_how_many_samples_are_averaged_does_not_matter_but_how_they_are_drawn_does():
    eight = changed(OURS, temperature=0.6, top_p=0.95, samples=8)
    assert reasons_against(eight, changed(eight, samples=32)) == []
    assert reasons_against(eight, changed(eight, top_p=1.0))


def test_a_last_step_and_a_choice_on_validation_questions_are_both_fair():
    last, test = changed(OURS, selection="none"), changed(OURS, selection="test")
    assert reasons_against(last, OURS) == reasons_against(OURS, last) == []
    assert reasons_against(changed(OURS, selection="best per benchmark"), test)
    assert reasons_against(OURS, test) == ["our checkpoint chosen on the test benchmark itself"]


def test_a_published_number_is_not_comparable_for_all_the_reasons_at_once():
    ours = changed(OURS, prompt="boxed-user", max_tokens=1024, precision="float32", model="Qwen2.5-0.5B")
    (reasons,) = [reasons for row, reasons in beside(BOOK, "cft_math500", ours) if row.value == 66.6]
    assert reasons == [
        "other model: Qwen2.5-Math-1.5B",
        "prompt qwen25-math-cot, ours boxed-user",
        "token limit 4096, ours 1024",
        f"grader: {BOOK.graders['qwen-one-decimal']} (ours: {BOOK.graders['cft']})",
        "precision bfloat16, ours float32",
    ]


def test_our_model_comes_first_then_the_likest_protocol_then_the_highest():
    rows = beside(BOOK, "cft_math500", OURS)
    assert len(rows) == len(BOOK.of("math500"))
    first = [(row.value, row.protocol.grader, len(reasons)) for row, reasons in rows[:2]]
    assert first == [(36.2, "ttrl", 1), (36.0, "qwen", 1)]
    assert rows[1][1] == [f"grader: {BOOK.graders['qwen']} (ours: {BOOK.graders['cft']})"]
    others = [row.model != OURS.model for row, _ in rows]
    assert others == sorted(others) and others[-1]
    ours = [(len(reasons), -row.value) for row, reasons in rows if row.model == OURS.model]
    assert ours == sorted(ours)


@pytest.mark.parametrize(
    ("benchmark", "ours", "named"),
    [
        ("cft_math5000", OURS, "math500"),
        ("math500", changed(OURS, prompt="boxed_user"), "boxed-user"),
        ("math500", changed(OURS, grader="qwem"), "qwen"),
    ],
)
def test_an_unknown_word_of_ours_is_refused_with_the_nearest_known(benchmark: str, ours: Protocol, named: str):
    with pytest.raises(EvalError, match=named):
        beside(BOOK, benchmark, ours)


def test_every_task_of_ours_has_published_scores_or_says_that_none_is_listed():
    tasks = {file.stem for file in TASKS_FOLDER.glob("*/cft_*.yaml")} - {
        "cft_math_validation",
        "cft_wordproblems",
        "cft_wordproblems_validation",
        "cft_office",
        "cft_office_validation",
    }
    assert {task for task in tasks if not BOOK.of(task)} == {"cft_gsm8k_platinum"}
    assert BOOK.benchmarks["gsm8k_platinum"].note
