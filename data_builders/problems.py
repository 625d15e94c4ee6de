"""Seed problems: a question, its answer, and a solution whose every step is checked when the problem is loaded."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from cft.errors import DataError
from cft.files import faulty
from cft.recipe.faults import show as show_value
from cft.recipe.shipped import by_stem, find_file, recipes_folder
from cft.recipe.source import read_yaml
from cft.suggest import nearest
from data_builders.arithmetic.claims import claims, numbers
from data_builders.arithmetic.expressions import (
    Name,
    Node,
    Number,
    evaluate,
    leaves,
    parse,
    show,
    show_number,
    with_values,
)
from data_builders.arithmetic.quantities import Quantity, Unit, given, parse_unit, read
from data_builders.golds import read_gold, read_text
from eval.grading import last_box

_TEXTS = ("id", "question", "answer", "source", "licence")
_KEYS = {*_TEXTS, "note", "asked", "ideas", "given", "steps", "other_steps", "solution"}
_GIVEN_KEYS, _STEP_KEYS = {"value", "unit", "says"}, {"name", "says", "expression", "value", "tell", "label"}
_STEP_TEXTS = ("name", "says", "expression")
_NUMBER_WORDS = {
    2: "half|halves|twice|double|doubled|two|pair",
    3: "third|three|triple",
    4: "quarter|four",
    5: "fifth|five",
    **{6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten", 12: "dozen"},
}


@dataclass(frozen=True)
class Given:
    """A quantity that the question states: `14, the number of boxes sold on Monday`."""

    name: str
    value: Fraction
    unit: Unit
    says: str


@dataclass(frozen=True)
class Step:
    """One checked step of a solution."""

    name: str
    says: str  # what its value is, as a noun phrase
    expression: Node  # over given quantities and earlier steps
    value: Fraction
    quantity: Quantity
    operands: tuple[tuple[Fraction, Quantity], ...]  # the numbers of the expression from left to right
    shown: str  # "14 / 2 = 7"
    tell: tuple[str, ...]  # sentences that state it
    label: tuple[str, ...]  # words that a solution's own name for this step holds, as "Monday" for Monday's total


@dataclass(frozen=True)
class Problem:
    """A question with its verified answer, source and licence."""

    id: str
    question: str
    answer: str
    source: str
    licence: str
    solution: str = ""
    note: str = ""
    asked: str = "the answer"  # what the question asks for, as a noun phrase
    ideas: tuple[str, ...] = ()  # sentences on what the problem turns on
    given: tuple[Given, ...] = ()
    steps: tuple[Step, ...] = ()
    other_steps: tuple[Step, ...] = ()  # a second way to the answer


def problems_folder() -> Path:
    """Where the shipped problems are."""
    return recipes_folder() / "problems"


def find_problem(name_or_path: str) -> Path:
    """The file of a shipped problem's name, or of a path. A DataError says the nearest name."""
    return find_file(name_or_path, by_stem(problems_folder(), ".yaml"), "problem")


def load_problem(name_or_path: str) -> Problem:
    """Read and check a problem.

    Raises:
        DataError: listing all faults of the file.
    """
    path = find_problem(name_or_path)
    raw, faults = read_yaml(path), []
    problem = _read_problem(raw, faults)
    if problem and problem.solution:
        _check_solution(problem, faults)
    if faults:
        raise faulty(path, faults)
    return problem


def load_problems(names: Iterable[str]) -> dict[str, Problem]:
    """The problems by their ids, read and checked.

    Raises:
        DataError: as `load_problem`, or for an id that is there twice.
    """
    problems: dict[str, Problem] = {}
    for name in names:
        problem = load_problem(name)
        if problem.id in problems:
            raise DataError(
                f"problem {name!r}: {problem.id!r} is there twice in data.problems. Name each problem once."
            )
        problems[problem.id] = problem
    return problems


def _read_problem(raw: dict, faults: list[str]) -> Problem | None:
    texts = {}
    for key in _TEXTS:
        try:
            texts[key] = (read_gold if key == "answer" else read_text)(raw.get(key))
        except ValueError as error:
            faults.append(f"{key}: {error}")
    for key, kind in (("given", dict), ("steps", list), ("other_steps", list), ("ideas", list)):
        if not isinstance(raw.get(key, kind()), kind):
            faults.append(f"{key}: is {show_value(raw[key])}; write a {'mapping' if kind is dict else 'list'}")
    for key in ("note", "asked", "solution"):
        if not isinstance(raw.get(key, ""), str):
            faults.append(f"{key}: is {show_value(raw[key])}; write a text")
    usable = not faults
    _refuse_unknown(raw, _KEYS, "", faults)
    if not usable:
        return None
    known_numbers = numbers(texts["question"]) | {
        Fraction(n) for n, words in _NUMBER_WORDS.items() if re.search(rf"\b(?:{words})\b", texts["question"].lower())
    }
    stated = _read_given(raw.get("given", {}), known_numbers, faults)
    if len(stated) < len(raw.get("given", {})):
        return None  # the steps rest on what is given
    for key in ("steps", "other_steps"):
        texts[key] = tuple(_read_steps(key, raw.get(key, []), stated, known_numbers, texts["answer"], faults))
    texts |= {key: raw[key].strip() for key in ("solution", "note", "asked") if key in raw}
    ideas = tuple(" ".join(str(idea).split()) for idea in raw.get("ideas", []))
    return Problem(**texts, ideas=ideas, given=tuple(stated.values()))


def _read_given(raw: dict, known_numbers: set[Fraction], faults: list[str]) -> dict[str, Given]:
    stated = {}
    for name, entry in raw.items():
        where = f"given.{name}"
        if not isinstance(name, str) or not name.isidentifier():
            faults.append(f"{where}: is no name; use letters, digits and _")
        elif not isinstance(entry, dict) or not isinstance(entry.get("says"), str):
            example = "{value: 14, unit: box, says: the number of boxes}"
            faults.append(f"{where}: is {show_value(entry)}; write {example}")
        elif (value := _number(entry.get("value"))) is None:
            faults.append(f"{where}.value: is {show_value(entry.get('value'))}; write a number")
        elif value not in known_numbers:
            faults.append(f"{where}.value: {show_number(value)} does not stand in the question; correct one of them")
        else:
            _refuse_unknown(entry, _GIVEN_KEYS, f"{where}.", faults)
            try:
                stated[name] = Given(name, value, parse_unit(str(entry.get("unit", ""))), entry["says"].strip())
            except ValueError as error:
                faults.append(f"{where}.unit: {error}")
    return stated


def _read_steps(
    key: str, raw: list, stated: dict[str, Given], known_numbers: set[Fraction], answer: str, faults: list[str]
) -> list[Step]:
    values = {name: g.value for name, g in stated.items()}
    quantities = {name: given(name, g.unit) for name, g in stated.items()}
    steps: list[Step] = []
    for i, entry in enumerate(raw):
        if not isinstance(entry, dict) or any(not isinstance(entry.get(k), str) for k in _STEP_TEXTS):
            example = "{name: ..., says: ..., expression: ..., value: ...}"
            faults.append(f"{key}[{i}]: is {show_value(entry)}; write {example}")
            return steps
        where, name = f"{key}[{i}] {entry['name']}", entry["name"]
        _refuse_unknown(entry, _STEP_KEYS, f"{where}: ", faults)
        if name in values or not name.isidentifier():
            faults.append(f"{where}: the name is taken or no name; choose another")
        try:
            node = parse(entry["expression"])
            for leaf in leaves(node):
                if isinstance(leaf, Name) and leaf.name not in values:
                    meant = f"; did you mean {near!r}?" if (near := nearest(leaf.name, values)) else ""
                    raise ValueError(f"uses {leaf.name!r}, which is neither given nor an earlier step{meant}")
        except ValueError as error:
            faults.append(f"{where}: {error}")
            return steps  # later steps may rest on this one
        for leaf in leaves(node):
            if isinstance(leaf, Number) and leaf.value not in known_numbers:
                faults.append(f"{where}: the number {show_number(leaf.value)} does not stand in the question")
        true, calculation = evaluate(node, values), show(with_values(node, values))
        if true is None or _number(entry.get("value")) != true:
            result = "a division by zero" if true is None else show_number(true)
            faults.append(f"{where}: {calculation} is {result}, not {entry.get('value')!r}; correct it")
        true = true or Fraction(0)
        quantity = read(node, quantities)
        if quantity.unit is None:
            faults.append(f"{where}: adds or subtracts unlike units; correct the expression or the units under given")
        operands = tuple((evaluate(leaf, values), read(leaf, quantities)) for leaf in leaves(node))
        shown = f"{calculation} = {show_number(true)}"
        tell, label = ([] if entry.get(key) is None else entry[key] for key in ("tell", "label"))
        for name_of, texts in (("tell", tell), ("label", label)):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                faults.append(f"{where}: {name_of} is {show_value(texts)}; write a list of texts")
                return steps
        for sentence in tell:
            statements = claims(sentence)
            if any(c.slip for c in statements) or true not in [c.value for c in statements]:
                faults.append(f"{where}: the sentence {sentence!r} does not state {shown!r}, or states something false")
        label = tuple(word.lower() for word in label)
        says, sentences = entry["says"].strip(), tuple(" ".join(t.split()) for t in tell)
        steps.append(Step(name, says, node, true, quantity, operands, shown, sentences, label))
        values[name], quantities[name] = true, quantity
    if steps and (end := show_number(steps[-1].value)) != answer:
        faults.append(f"{key}: end in {end}, but the answer is {answer!r}; correct one of them")
    return steps


def _check_solution(problem: Problem, faults: list[str]) -> None:
    boxed = last_box(problem.solution)
    if boxed != problem.answer:
        faults.append(f"solution: its last \\boxed{{}} holds {boxed!r}, not the answer {problem.answer!r}")
    for claim in claims(problem.solution):
        if claim.slip:
            faults.append(f"solution: {problem.solution[claim.start : claim.end]!r} is false; correct it")


def _refuse_unknown(entry: dict, keys: set[str], where: str, faults: list[str]) -> None:
    for key in entry:
        if key not in keys:
            near = nearest(str(key), sorted(keys))
            faults.append(f"{where}{key}: is not a key here; {f'did you mean {near}?' if near else 'remove it'}")


def _number(value: object) -> Fraction | None:
    """A YAML number, or a text such as "1/3", exactly; None for any other, and for one of more than 30 digits."""
    text = "" if isinstance(value, bool) or not isinstance(value, int | float | str) else str(value).strip()
    if not re.fullmatch(r"[-+]?[\d.]{1,30}(?:e[-+]?\d\d?|/\d{1,30})?", text, re.IGNORECASE | re.ASCII):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
