"""Few rows out of a pool of questions with worked solutions, for the builder `curated`.

The rules in their order: what a row says by itself, questions that are scored, the grade of the solution, questions
that came before, the students' pass rates, the choice. Every row that goes has its reason.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import mean, pstdev
from typing import TYPE_CHECKING, Any

from cft.cache import remembered
from cft.errors import DataError
from cft.files import faulty, sha256_file
from cft.foreign import user_path
from cft.words import damage
from data_builders.golds import read_gold
from data_builders.problems import Problem
from data_builders.similarity import near_duplicates, shingles
from data_builders.students import sample
from eval.grading import grade, last_box
from eval.tasks.item_files import load_hub, read_file

if TYPE_CHECKING:
    from cft.recipe.blocks import CuratedData
    from data_builders.asking.backends import Asking

Items = Mapping[str, list[str] | str]  # task -> the questions of its items, or why they cannot be read

PICTURE = re.compile(r"\[asy\]|!\[|<img\b|\\includegraphics|\\begin\{(?:asy|tikzpicture)\}", re.IGNORECASE)
SHARED_WORDS = 8  # in a row, that a question and an item that is scored may not share
FEWEST_WORDS = 4  # of an item that is looked for within a question; a shorter one would be found everywhere
SAME_QUESTION = 0.9  # overlap above which two questions are one
UNGRADED = {"wrong": "its box is not its answer", "no_answer": "no box", "ungradable": "its box cannot be compared"}
# Whole words that `chain_scores` counts, with their weights; the rest of the weight is the length's.
MARKS = ((0.20, {"check", "verify"}), (0.25, {"perhaps", "might"}), (0.25, {"therefore", "since"}))


@dataclass
class Pool:
    """The rows that are left, in their order, and those that have gone."""

    name: str
    left: dict[str, Problem] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, list[Problem]] = field(default_factory=dict)  # by reason, in the order of the rules
    tried: dict[str, Problem] = field(default_factory=dict)  # that students were asked
    samples: list[dict] = field(default_factory=list)  # their candidates

    def drop(self, reasons: Iterable[tuple[str, str | None]]) -> None:
        """Take out the rows, named by id, that have a reason."""
        for key, reason in [one for one in reasons if one[1]]:
            self.dropped.setdefault(reason, []).append(self.left.pop(key))

    def refuse_empty(self) -> None:
        """Raise DataError if no row is left."""
        if not self.left:
            why = ", ".join(f"{reason}: {n}" for reason, n in self.counts.items())
            fix = "Loosen the rule that dropped most, or take more rows."
            raise DataError(f"no row of {self.name} is left ({why}). {fix}")

    @property
    def counts(self) -> dict[str, int]:
        return {reason: len(rows) for reason, rows in self.dropped.items()}


def read_pool(data: "CuratedData") -> Pool:
    """All rows of the pool.

    Raises:
        DataError: it cannot be had, or lacks subjects; or listing all rows without texts under the keys.
    """
    pool, faults = Pool(Path(data.path).stem if data.path else data.hub), []
    try:
        rows = read_file(user_path(data.path)) if data.path else load_hub(data.hub, None, "train", data.revision)
    except DataError as error:
        fix = "" if data.path else " Save it as a local file, and name that: data.path=FILE."
        raise DataError(f"data.{'path' if data.path else 'hub'}: {error}{fix}") from None
    for where, row in rows[: data.limit]:
        key, licence = f"{pool.name}-{where.split()[-1]}", str(row.get("licence", "unknown"))
        try:
            question = _text(row, "question" if "question" in row else "problem")
            solution = _text(row, *data.solution)
        except ValueError as fault:
            faults.append(f"{where}: {fault}")
            continue
        answer, gold = "", row.get(data.answer)
        with suppress(ValueError):  # the answer stays empty, which is a reason to drop the row
            answer = read_gold(last_box(solution) if gold in (None, "") else gold)
        pool.left[key] = Problem(key, question, answer, source=pool.name, licence=licence, solution=solution)
        pool.subjects[key] = str(row.get(data.subject) or "none")
    if faults:
        raise faulty(Path(data.path or data.hub), faults, "faulty row(s)")
    if data.choose == "spread" and {*pool.subjects.values()} <= {"none"}:
        raise DataError(f"data.choose: spread needs a subject, but no row has {data.subject!r}. Set data.subject.")
    return pool


def _text(row: dict[str, Any], *keys: str) -> str:
    """The texts under the keys that a row has, lists of texts too, joined; ValueError in words."""
    if not (values := [row[key] for key in keys if key in row]):
        raise ValueError(f"lacks {' or '.join(keys)}; its keys are {', '.join(row)[:300] or 'none'}")
    parts = [part for value in values for part in (value if isinstance(value, list) else [value or ""])]
    if wrong := [part for part in parts if not isinstance(part, str)]:
        raise ValueError(f"{' or '.join(keys)} holds {wrong[0]!r:.60}; write a text")
    return "\n\n".join(filter(None, map(str.strip, parts)))


def sift(pool: Pool, data: "CuratedData", items: Items) -> Pool:
    """The pool after all rules that ask no model."""
    pool.drop((key, _fault(row, data)) for key, row in pool.left.items())
    # As s1 does (its data/decontaminate_util.py), but signs do not count, and a shorter item is one run
    asked = [(task, question) for task, of in items.items() if isinstance(of, list) for question in of]
    runs = [(run, task) for task, question in asked for run in shingles(question, SHARED_WORDS, signs=False)]
    scored = {run: f"shares {SHARED_WORDS} words with {task}" for run, task in runs}
    sizes, found = {SHARED_WORDS, *(n for n in map(len, scored) if n >= FEWEST_WORDS)}, {}
    for key, row in pool.left.items():
        shared = [run for size in sizes for run in shingles(row.question, size, signs=False) & scored.keys()]
        found[key] = min(map(scored.get, shared), default=None)
    pool.drop(found.items())
    pool.drop((key, UNGRADED.get(grade(row.answer, row.solution).outcome)) for key, row in pool.left.items())
    keys, questions = list(pool.left), [row.question for row in pool.left.values()]
    pool.drop((keys[i], "near duplicate") for i in near_duplicates(questions, [0] * len(keys), SAME_QUESTION))
    return pool


def _fault(row: Problem, data: "CuratedData") -> str | None:
    """Why a row cannot be used, by its own texts."""
    words = len(row.solution.split())
    broken = {
        "no question or no solution": not row.question or not row.solution,
        "damaged text": damage(row.question) or damage(row.solution),
        "no answer that can be graded": not row.answer,
        "picture": not data.pictures and PICTURE.search(f"{row.question}\n{row.solution}"),
        "too short": words < data.least_words,
        "too long": words > (data.most_words or words),
    }
    return next((reason for reason, rule in broken.items() if rule), None)


def choose(pool: Pool, data: "CuratedData", seed: int) -> list[str]:
    """The ids of `data.max_examples` of the rows that are left, by `data.choose`."""
    keys, solutions = list(pool.left), [row.solution for row in pool.left.values()]
    most = min(data.max_examples or len(keys), len(keys))
    values = chain_scores(solutions) if data.choose == "score" else [len(text.split()) for text in solutions]
    if data.choose != "first":
        keys = [key for _, key in sorted(zip(values, keys, strict=True), key=lambda one: -one[0])]
    if data.choose != "spread":
        return keys[:most]
    # s1 (arXiv 2501.19393, section 2.2; its data/filter.ipynb): a subject, each as likely; in it a row by 2^-rank
    subjects, drawn, random = defaultdict(list), [], Random(seed)
    for key in keys:
        subjects[pool.subjects[key]].append(key)
    while len(drawn) < most:
        rows = subjects[random.choice([name for name, rows in subjects.items() if rows])]
        drawn.append(rows.pop(*random.choices(range(len(rows)), [2.0**-rank for rank in range(len(rows))])))
    return drawn


def chain_scores(solutions: Sequence[str]) -> list[float]:
    """LIMO's score of reasoning chains (arXiv 2502.03387 v2, section 3.2): 30 % length, the rest by `MARKS`.

    Frequencies are by length. To be added, all four parts are z scores among these solutions, which is our choice.
    """
    words = [re.findall(r"\w+", text.casefold()) for text in solutions]
    parts = [(weight, [sum(w in marks for w in some) / max(1, len(some)) for some in words]) for weight, marks in MARKS]
    scores = [0.0] * len(words)
    for weight, values in [(0.30, list(map(len, words))), *parts]:
        middle, spread = mean(values or [0]), pstdev(values or [0]) or 1
        scores = [score + weight * (value - middle) / spread for score, value in zip(scores, values, strict=True)]
    return scores


def curate(data: "CuratedData", seed: int, asking: "Asking", items: Items) -> Pool:
    """The pool with only the chosen rows left.

    Raises:
        DataError: as `read_pool`, for calls that failed, or no row is left.
    """
    pool = sift(read_pool(data), data, items)
    for student in data.students:
        pool.tried |= pool.left
        answers = sample([student], pool.left, seed, asking)
        pool.samples = [*{row["id"]: row for row in [*pool.samples, *answers]}.values()]  # two may ask the same
        right = Counter(row["problem"] for row in answers if row["outcome"] == "correct")
        number, name = student.samples * len(student.temperatures), student.model or asking.model.id
        rates = {key: right[key] / number for key in pool.left}
        pool.drop((key, f"too hard for {name}") for key, rate in rates.items() if rate < student.pass_rate[0])
        pool.drop((key, f"too easy for {name}") for key, rate in rates.items() if rate > student.pass_rate[1])
    pool.refuse_empty()
    kept = dict.fromkeys(choose(pool, data, seed))
    pool.drop((key, "not chosen") for key in pool.left if key not in kept)
    return replace(pool, left={key: pool.left[key] for key in kept})


def planned_pool(data: "CuratedData") -> Pool:
    """What `sift` leaves of a local pool before items are compared; for estimates, which ask several times."""
    pool, code = read_pool(data), sorted(map(sha256_file, Path(__file__).parent.glob("*.py")))
    asked, rows = [data.model_dump(), sha256_file(user_path(data.path)), code], dict(pool.left)
    kept = remembered("curated", asked, lambda: list(sift(pool, data, {}).left))
    if not kept:
        sift(pool, data, {}).refuse_empty()
    return replace(pool, left={key: rows[key] for key in kept})
