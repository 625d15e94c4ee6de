"""The builder `curated`: each rule, their order, the ways of choosing, the card, and bad pools."""

import json
from collections import Counter

import pytest

from cft.cli.trace import trace_item
from cft.errors import DataError
from cft.files import write_jsonl
from cft.recipe.blocks import CuratedData, ModelBlock
from cft.runs import Run
from data_builders.asking.calls import Answer
from data_builders.build import build, planned_characters
from data_builders.curate import chain_scores, choose, read_pool, sift
from data_builders.estimate import estimate_calls
from data_builders.inspect.inspection import load_items
from data_builders.prompts import solve_prompt, training_row
from data_builders.similarity import near_duplicates, shingles
from tests.support.building import ScriptedAsking, rows

NOUNS = ["apple", "brick", "candle", "drum", "engine", "feather", "goose", "hammer", "iris", "jacket"]


def question(n):
    """Questions that share no run of eight words."""
    noun = NOUNS[n % len(NOUNS)]
    return f"{noun} {n} costs {n} coins, a second {noun}{n} one more; how many coins are both?"


def row(n, **changes):
    """A right row; its answer is 2n + 1."""
    solution = f"The first costs {n}, the other {n + 1}. " + "So on. " * n + f"\\boxed{{{2 * n + 1}}}"
    return {"problem": question(n), "solution": solution, "answer": str(2 * n + 1), "subject": NOUNS[n % 3]} | changes


def block(path, **settings):
    return CuratedData.model_validate({"builder": "curated", "path": str(path)} | settings)


@pytest.fixture
def curate(tmp_path):
    """Builds from rows; returns the counts, the numbers of the rows that train, and the ids of all calls asked."""

    def built(pool, write=None, items=None, seed=0, name="out", **settings):
        path, asked = tmp_path / "pool.jsonl", []
        write_jsonl(path, pool)

        def answer(call):
            asked.append(call.key)
            return write(call)

        folder = tmp_path / "runs" / "mine" / name / "data"
        asking = ScriptedAsking(answer, tmp_path / "calls")
        counts = build(block(path, **settings), folder=folder, seed=seed, asking=asking, items=items)
        return counts, [int(one["problem"].rpartition("-")[2]) - 1 for one in rows(folder, "examples")], asked

    built.folder = tmp_path / "runs" / "mine" / "out" / "data"
    return built


@pytest.mark.parametrize(
    ("changes", "settings", "reason"),
    [
        ({"answer": "4"}, {}, "its box is not its answer"),
        ({"solution": "It is 7."}, {}, "no box"),
        ({"solution": "It is 7.", "answer": None}, {}, "no answer that can be graded"),
        ({"solution": None}, {}, "no question or no solution"),
        ({"problem": "What does a \times b come to?"}, {}, "damaged text"),
        ({"solution": "See ![figure](x.png). \\boxed{7}"}, {}, "picture"),
        ({"problem": "[asy]draw(unitcircle);[/asy] How many coins?"}, {}, "picture"),
        ({}, {"most_words": 11}, "too long"),
        ({"solution": "\\boxed{7}"}, {"least_words": 2}, "too short"),
        ({"problem": question(0) + "!"}, {}, "near duplicate"),
    ],
)
def test_a_row_that_breaks_a_rule_goes_with_its_reason_and_the_others_stay(curate, changes, settings, reason):
    counts, kept, _ = curate([row(0), row(1), row(3, **changes)], **settings)
    assert kept == [0, 1] and counts["set_aside"] == {reason: 1}
    card = (curate.folder / "README.md").read_text()
    assert "\n\n| dropped because | rows | left | such as |\n" in card and "left out" not in card
    assert f"| {reason} | 1 | 2 | pool-3: " in card and "| all of pool |  | 3 |  |" in card


def test_rows_become_demonstrations_that_can_be_inspected_and_traced(curate):
    long = "<think>" + "wait, let me see. " * 3000 + "</think> It is \\boxed{1}."
    pool = [row(0, solution=long), row(1, answer=None), {"question": "1 + 1?", "solution": ["Two:", "\\boxed{2}"]}]
    counts, kept, asked = curate(pool)
    assert kept == [0, 1, 2] and not asked and counts["examples"] == 3
    examples = rows(curate.folder, "examples")
    assert [one["answer"] for one in examples] == ["1", "3", "2"]
    for one, text in zip(examples, (long, row(1)["solution"], "Two:\n\n\\boxed{2}"), strict=True):
        shown = training_row(
            solve_prompt(next(p for p in rows(curate.folder, "problems") if p["id"] == one["problem"])["question"]),
            text,
        )
        assert {key: one[key] for key in shown} == shown
    assert [item.trains for item in load_items(curate.folder)] == [True] * 3
    chain = trace_item(Run(curate.folder.parent), examples[0]["id"])["chain"]
    assert [link["kind"] for link in chain] == ["example", "candidate", "problem"]


def test_pictures_and_keys_are_settings(curate):
    pool = [{"question": "Q?", "thoughts": ["Hm."], "attempt": "![x](y) \\boxed{5}", "solution": "5"}]
    _, kept, _ = curate(pool, solution=["thoughts", "attempt"], answer="solution", pictures=True)
    assert kept == [0]
    assert rows(curate.folder, "examples")[0]["completion"][0]["content"] == "Hm.\n\n![x](y) \\boxed{5}"


def test_a_question_that_shares_eight_words_with_an_item_goes_and_seven_do_not_matter(curate):
    words = question(4).split()
    items = {"a": [" ".join(["so", *words[2:9], "so"]).upper()], "b": ["so " + " ".join(words[3:11]).upper()]}
    items |= {"c": ["how many?"], "d": ["Find $n^2 + 1$, where $n = 4$."], "e": ["What is 2 + 2?"]}
    short = ["How  many?", "Now find \\(n^2+1\\) where n=4, and say how many it is.", "What is $2+2$? Write it down."]
    pool = [row(4), row(5), *({"question": one, "solution": "\\boxed{1}"} for one in short)]
    counts, kept, _ = curate(pool, items=items | {"gone": "the hub cannot be reached"})
    assert kept == [1]
    assert counts["set_aside"] == {f"shares 8 words with {task}": 1 for task in "bcde"}
    card = (curate.folder / "README.md").read_text()
    assert "| gone | not compared: the hub cannot be reached |" in card and "| c | 1 |" in card


def test_of_two_copies_the_one_with_the_right_solution_stays(curate):
    counts, kept, _ = curate([row(0, answer="4"), row(0), row(1)])
    assert kept == [1, 2] and counts["set_aside"] == {"its box is not its answer": 1}


def student(call):
    """Right on every sample of even rows, on one of row 1, else wrong; longer for later rows."""
    n = int(call.messages[0]["content"].split()[1])
    right = n % 2 == 0 or (n == 1 and call.sample == 0)
    return Answer(f"{call.model} says \\boxed{{{2 * n + 1 if right else 0}}}", "ok", "stop", output_tokens=9)


def test_students_try_only_what_earlier_rules_left_and_each_bounds_the_pass_rate(curate):
    pool = [*(row(n) for n in range(6)), row(7, answer="1")]
    students = [{"samples": 4, "pass_rate": [0, 0.9]}, {"model": "b", "samples": 2, "pass_rate": [0.5, 1]}]
    counts, kept, asked = curate(pool, student, {"t": [question(3)]}, students=students)
    assert kept == [1] and len(asked) == 5 * 4 + 2 * 2
    assert counts["set_aside"] == {
        **{"its box is not its answer": 1, "shares 8 words with t": 1},
        **{"too easy for tiny": 3, "too hard for b": 1},
    }
    assert counts["students"] == {"b": {"samples": 4, "pass_rate": 0.25}, "tiny": {"samples": 20, "pass_rate": 0.65}}
    assert len(load_items(curate.folder)) == 1 + 20 + 4


def test_a_stopped_sampling_goes_on_and_asks_no_call_twice(curate):
    pool, students = [row(n) for n in range(6)], [{"samples": 3, "pass_rate": [0, 0.5]}]
    asked = []

    def stops(call):
        asked.append(call.key)
        if len(asked) == 7:
            raise KeyboardInterrupt
        return student(call)

    with pytest.raises(KeyboardInterrupt):
        curate(pool, stops, students=students)
    _, kept, again = curate(pool, stops, students=students)
    assert kept == [1, 3, 5] and len(again) == 12 and len(asked) == 19 == len(set(asked)) + 1
    assert curate(pool, None, students=students, name="b")[1:] == (kept, [])


@pytest.mark.parametrize(("how", "expected"), [("first", [0, 1, 2]), ("longest", [8, 7, 6]), ("score", [2, 8, 7])])
def test_max_examples_are_chosen_as_asked(curate, how, expected):
    pool = [row(n) for n in range(9)]
    pool[2]["solution"] = "Perhaps. Let me check: therefore \\boxed{5}"
    assert curate(pool, choose=how, max_examples=3)[1] == expected
    assert curate(pool, choose=how)[0]["examples"] == 9


def test_the_score_weighs_length_and_the_three_kinds_of_words_as_limo():
    plain = ["a b c d", "a b c d"]
    for word, weight in (("verify", 0.2), ("Might", 0.25), ("since,", 0.25), ("checking", 0)):
        low, high = chain_scores([plain[0], f"a b c {word}"])
        assert high - low == pytest.approx(2 * weight)
    low, high = chain_scores(["a b", "a b c d"])
    assert high - low == pytest.approx(2 * 0.3)


def test_spread_draws_subjects_alike_and_longer_chains_twice_as_often(tmp_path):
    write_jsonl(tmp_path / "p.jsonl", [row(n, subject="rare" if n < 2 else "often") for n in range(30)])
    data = block(tmp_path / "p.jsonl", choose="spread", max_examples=1)
    pool = sift(read_pool(data), data, {})
    drawn = Counter(choose(pool, data, seed)[0] for seed in range(600))
    rare = drawn["p-1"] + drawn["p-2"]
    assert 240 < rare < 360 and 1.4 < drawn["p-2"] / drawn["p-1"] < 2.9
    assert 1.4 < drawn["p-30"] / drawn["p-29"] < 2.9
    assert len(set(choose(pool, block(tmp_path / "p.jsonl", choose="spread"), 1))) == 30


def test_the_same_seed_chooses_the_same_bytes_and_another_seed_other_rows(curate):
    pool, settings = [row(n) for n in range(30)], {"choose": "spread", "max_examples": 5}
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        curate(pool, seed=seed, name=name, **settings)
        folder = curate.folder.parents[1] / name / "data"
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert files[0] == files[1] != files[2]


def test_json_and_parquet_pools_are_read_too(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pool = [row(n) for n in range(3)]
    (tmp_path / "p.json").write_text(json.dumps({"rows": pool}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pool), tmp_path / "p.parquet")
    read = [read_pool(block(tmp_path / name)).left for name in ("p.json", "p.parquet")]
    assert read[0].keys() == read[1].keys() == {"p-1", "p-2", "p-3"}
    assert list(read_pool(block(tmp_path / "p.json", limit=2)).left) == ["p-1", "p-2"]


def test_the_plan_counts_rows_and_calls_without_asking(tmp_path, monkeypatch):
    monkeypatch.setenv("CFT_CACHE", str(tmp_path / "cache"))
    write_jsonl(tmp_path / "p.jsonl", [*(row(n) for n in range(6)), row(7, answer="1")])
    students = [{"samples": 4, "temperatures": [0.5, 1.0], "pass_rate": [0, 0.5]}]
    data = block(tmp_path / "p.jsonl", students=students, choose="longest", max_examples=2)
    for _ in range(2):  # the second time from the cache
        (calls,) = estimate_calls(data, 0, ModelBlock(id="org/m"), tmp_path)
        assert (calls["calls"], calls["at_most"]) == (6 * 8, True)
        sizes = [len(solve_prompt(question(n))) + len(row(n)["solution"]) for n in (5, 4)]
        assert planned_characters(data) == sizes
    write_jsonl(tmp_path / "p.jsonl", [row(1)])
    assert estimate_calls(data, 0, ModelBlock(id="org/m"), tmp_path)[0]["calls"] == 8
    empty = block(tmp_path / "p.jsonl", most_words=1, choose="score")
    with pytest.raises(DataError, match=r"no row of p is left \(too long: 1\)"):
        planned_characters(empty)
    away = CuratedData(builder="curated", hub="a/b", revision="main", students=data.students, limit=30)
    assert estimate_calls(away, 0, ModelBlock(id="org/m"), tmp_path)[0]["calls"] == 30 * 8
    assert len(planned_characters(away)) == 30


@pytest.mark.parametrize(
    ("content", "settings", "fault"),
    [
        ('{"problem": "x"}\n{"solution": 3, "problem": "y"}\n', {}, r"2 faulty row.*\n  line 1: lacks solution; its "),
        ('{"problem": "x"}\n{"solution": 3, "problem": "y"}\n', {}, "line 2: solution holds 3; write a text"),
        ("{", {}, "line 1: is not JSON"),
        ("", {}, "has no rows"),
        (json.dumps(row(1, subject=None)), {"choose": "spread"}, "no row has 'subject'. Set data.subject"),
        (json.dumps(row(1, answer="9")), {}, r"no row of pool is left \(its box is not its answer: 1\). Loosen"),
        (json.dumps(row(9)), {"most_words": 3}, r"no row of pool is left \(too long: 1\)"),
    ],
)
def test_a_pool_that_cannot_be_used_says_why(tmp_path, content, settings, fault):
    (tmp_path / "pool.jsonl").write_text(content)
    with pytest.raises(DataError, match=fault):
        build(
            block(tmp_path / "pool.jsonl", **settings),
            folder=tmp_path / "out",
            seed=0,
            asking=ScriptedAsking(str, tmp_path),
        )
    assert not (tmp_path / "out" / "examples.jsonl").exists()


def test_a_pool_on_the_hub_that_cannot_be_reached_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"data.hub: org/set cannot be loaded from the hub .* data.path=FILE"):
        read_pool(CuratedData(builder="curated", hub="org/set", revision="0" * 40))


def test_near_duplicates_are_those_that_a_comparison_of_all_finds():
    texts = [" ".join(f"{w}{(n * k) % 7 if k < n % 5 else k}" for k, w in enumerate("abcdefghijkl")) for n in range(80)]
    texts += ["", "a", "a b", "a b"]
    groups = [n % 2 for n in range(len(texts))]
    for threshold in (0.1, 0.5, 0.9, 1.0):
        kept, found = [], {}
        for i, text in enumerate(texts):
            mine = shingles(text)
            alike = [
                j
                for j in kept
                if groups[j] == groups[i]
                and len(mine & shingles(texts[j])) / len(mine | shingles(texts[j])) >= threshold
            ]
            if alike:
                found[i] = alike[0]
            else:
                kept.append(i)
        assert near_duplicates(texts, groups, threshold) == found and found
