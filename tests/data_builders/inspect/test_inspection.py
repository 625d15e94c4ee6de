"""Looking at training data in the terminal: loading, choosing, marking quotations, showing, paging."""

import io
import json
from dataclasses import asdict

import pytest

from cft.errors import DataError
from cft.files import write_jsonl
from cft.terminal import Terminal
from cft.words import tidy
from data_builders.filter.quotations import quotations
from data_builders.inspect.inspection import KEYS, load_items, select, show_items
from tests.support.inspecting import CANDIDATES, CRITIQUES, candidate, critique, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


def ids(items):
    return [item.id for item in items]


def shown(items, width=80, **options):
    console = Terminal(file=io.StringIO(), width=width, **options)
    show_items(items, console)
    return console.file.getvalue()


def test_order_is_problem_then_wrong_answer_by_size_then_style(folder):
    items = load_items(folder)
    assert ids(items) == ["k4", "k3", "k2", "k5", "b-correct", "k1"]
    assert [item.id for item in items if item.trains] == ["k2"]


def test_a_candidate_without_a_critique_is_an_item(folder):
    (item,) = (item for item in load_items(folder) if item.critique is None)
    assert (item.id, item.dropped, item.trains) == ("b-correct", False, False)
    assert "No critique was written." in shown([item])


@pytest.mark.parametrize("name", ["problems", "candidates", "critiques"])
def test_a_missing_file_says_what_to_run(folder, name):
    (folder / f"{name}.jsonl").unlink()
    with pytest.raises(DataError, match=rf"has no {name}\.jsonl.*cft data RECIPE"):
        load_items(folder)


def test_a_run_that_dropped_everything_can_be_looked_at(folder):
    (folder / "examples.jsonl").unlink()
    write_jsonl(folder / "critiques.jsonl", [CRITIQUES[3]])
    assert ids(select(load_items(folder), dropped=True)) == ["k4"]


def test_no_critiques_at_all(folder):
    write_jsonl(folder / "critiques.jsonl", [])
    items = load_items(folder)
    assert len(items) == 5 and not any(item.critique for item in items)
    with pytest.raises(DataError, match="There are: none"):
        select(items, teacher="exact")
    write_jsonl(folder / "candidates.jsonl", [])
    with pytest.raises(DataError, match=r"neither candidates nor critiques.*examples\.jsonl"):
        load_items(folder)


def test_rows_that_do_not_belong_together(folder):
    write_jsonl(folder / "critiques.jsonl", [critique("k9", "gone")])
    with pytest.raises(DataError, match="k9 speaks of candidate gone"):
        load_items(folder)
    write_jsonl(folder / "critiques.jsonl", [{"id": "k9", "candidate": "a-6"}])
    with pytest.raises(DataError, match="line 1: teacher: is missing"):
        load_items(folder)


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, ["k4", "k3", "k2", "k5", "b-correct", "k1"]),
        ({"dropped": True}, ["k4", "k5"]),
        ({"accepted": True}, ["k3", "k2", "k1"]),
        ({"reason": "too short"}, ["k4"]),
        ({"teacher": "exact", "dropped": True}, ["k5"]),
        ({"style": "rederived"}, ["k3"]),
        ({"search": "HOW  many\napples"}, ["k1"]),
        ({"search": "99 boxes"}, ["k5"]),
        ({"search": "k3"}, ["k3"]),
        ({"search": "not there"}, []),
    ],
)
def test_filters(folder, filters, kept):
    assert ids(select(load_items(folder), **filters)) == kept


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"reason": "to short"}, "Did you mean too short? There are: quote not in candidate, too short."),
        ({"teacher": "gpt"}, "--teacher gpt: no critique here has it. There are: exact, file:mine."),
        ({"style": "numberd"}, "Did you mean numbered?"),
        ({"accepted": True, "dropped": True}, "--accepted and --dropped: no critique is both."),
        ({"accepted": True, "reason": "too short"}, "--accepted and --reason: no critique is both."),
    ],
)
def test_filters_that_cannot_fit(folder, filters, told):
    with pytest.raises(DataError) as error:
        select(load_items(folder), **filters)
    assert told in str(error.value)


def test_items_can_be_written_as_json(folder):
    assert json.loads(json.dumps([asdict(item) for item in load_items(folder)]))[2]["trains"] is True


@pytest.mark.parametrize(
    ("quote", "text", "marked"),
    [
        ("37 × 2 = 74", r"so \(37 \times 2 = 74\).", [r"37 \times 2 = 74"]),
        ("14 / 2", r"\frac{14}{2} boxes", [r"14}{2"]),
        ("The **sum** is −5.", "the sum is -5, yes", ["the sum is -5"]),
        ("7", "77 and 7, then 7", ["7", "7"]),
        ("uffi", "muffins", ["uffi"]),
        ("one ... three", "one two three", ["one", "three"]),
        ("a = 1", "a\n   = 1", ["a", "= 1"]),
        ("costs $9", "😀 It costs 9", ["costs 9"]),
        ("…", "anything", []),
    ],
)
def test_quotations_are_found_whatever_their_marks(quote, text, marked):
    said = f'He writes "{quote}" there.'
    quoting, quoted, strange = quotations(said, text, "")
    assert [text[a:b] for a, b in quoted] == marked
    assert [said[a:b] for a, b in quoting] == ([quote] if marked else []) and not strange


def test_quotations_of_the_question_are_not_strange_but_those_of_nothing_are():
    said = "“How many” is asked, “99 boxes” is not there."
    quoting, quoted, strange = quotations(said, "I have 5.", "How many?")
    assert (quoting, quoted, [said[a:b] for a, b in strange]) == ([], [], ["99 boxes"])


def test_wide_is_side_by_side_and_narrow_is_not(folder):
    items = select(load_items(folder), style="rederived")
    assert any("candidate b-370" in row and "critique k3" in row for row in shown(items, 110).splitlines())
    narrow = shown(items, 109)
    assert not any("candidate b-370" in row and "critique k3" in row for row in narrow.splitlines())
    assert max(map(len, narrow.splitlines())) <= 109


def test_the_problem_is_shown_when_it_changes_and_verdicts_are_words(folder):
    text = shown(load_items(folder))
    assert text.count("problem bakery") == text.count("problem apples") == 1 and "Answer: 361" in text
    assert "dropped: too short" in text and "accepted, trains" in text and "accepted, not chosen to train" in text
    assert "wrong, answer 370, 7 words, small" in text and "candidate no answer, 7 words" in text
    assert "says incorrect, answer 361, 11 words, exact, rederived" in text


def test_texts_are_no_markup_and_cannot_steer_the_terminal(folder):
    evil = candidate("evil", text="[red]x[/red] \x1b[2J\x1b]0;title\x07 \u202eabc [/]")
    write_jsonl(folder / "candidates.jsonl", [*CANDIDATES, evil])
    text = shown(select(load_items(folder), search="evil"), force_terminal=False)
    assert "[red]x[/red]" in text and "[/]" in text
    assert not set(text) & {"\x1b", "\x07", "\u202e"} and tidy("a\r\nb\tc") == "a\nb\tc"


def test_quotations_are_marked_on_both_sides(folder):
    (item,) = select(load_items(folder), style="rederived")
    text = shown([item], color_system="standard", force_terminal=True)
    assert "\x1b[30;43m37 × 2 = 74" in text and "\x1b[30;43m37 \\times 2 = 74" in text


def test_no_items_and_huge_ones(folder):
    assert shown([]).strip() == "No items fit."
    write_jsonl(folder / "candidates.jsonl", [candidate("b-370", text="x" * 50_000 + " word" * 20_000)])
    write_jsonl(folder / "critiques.jsonl", [critique("k3", "b-370")])
    text = shown(load_items(folder), 120)
    assert text.count("word") >= 20_000 and max(map(len, text.splitlines())) <= 120


class Screen(io.StringIO):
    def isatty(self):
        return True


def paged(items, keys, monkeypatch, height=60):
    monkeypatch.setattr("sys.stdin", Screen("".join(key + "\n" for key in keys)))
    console = Terminal(file=Screen(), width=120, height=height, force_terminal=True, color_system=None)
    show_items(items, console)
    return console.file.getvalue()


def places(text):
    return [line.split("item ")[1].split(" >")[0] for line in text.replace("> ", ">\n").splitlines() if "item " in line]


def test_keys_turn_pages(folder, monkeypatch):
    keys = ["", "n", "p", "p", "p", "6", " ", "d", "", "d", "99", "q", "n"]
    text = paged(load_items(folder), keys, monkeypatch)
    at = ["1 of 6", "2 of 6", "3 of 6", "2 of 6", "1 of 6", "1 of 6", "6 of 6", "6 of 6", "2 of 2", "2 of 2", "4 of 6"]
    assert places(text) == [*at, "4 of 6"]
    assert "That was the first." in text and "That was the last." in text and "'99' is no key" in text and KEYS in text


def test_an_item_higher_than_the_screen_is_shown_in_parts(folder, monkeypatch):
    write_jsonl(folder / "candidates.jsonl", [candidate("b-370", text="\n".join(f"line {i}." for i in range(40)))])
    write_jsonl(folder / "critiques.jsonl", [critique("k3", "b-370")])
    text = paged(load_items(folder), ["", "", ""], monkeypatch, height=24)
    first, second, third, *_ = text.split(KEYS)
    assert "line 0." in first and "more lines >" in second and "line 39." in third
    assert not any(f"line {i}." in second and f"line {i}." in first for i in range(40))


def test_a_terminal_with_no_dropped_critiques_says_so(folder, monkeypatch):
    assert "No critique was dropped." in paged(select(load_items(folder), accepted=True), ["d"], monkeypatch)
