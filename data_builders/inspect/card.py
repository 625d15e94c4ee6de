"""The data card of a data folder: what is in it, what was dropped and why, how diverse it is."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import mean

from cft.words import in_markdown
from data_builders.curate import SHARED_WORDS, Items, Pool
from data_builders.estimate import CHARACTERS_PER_TOKEN
from data_builders.problems import Problem
from data_builders.similarity import distinct_ngrams

_HEAD = """\
---
configs:
  - config_name: default
    data_files: examples.jsonl
language: en
task_categories: [text-generation]
tags: [critique-fine-tuning]
---
# {title}

One row of `examples.jsonl` is {rows}.
"""
_ROWS = {  # by data.builder
    "critiques": "a training example in TRL's prompt/completion form: the prompt shows a problem and, unless\n"
    "`data.prompt` is `solve`, a student's solution to it; the completion is a critique of that solution",
    "demonstrations": "a training example in TRL's prompt/completion form: a problem, and a right solution of it",
    "curated": "a training example in TRL's prompt/completion form: a question of a pool, and its worked solution",
    "prompts": "a problem for reinforcement learning, with its `answer`; `majority` and `incorrect` are the\n"
    "students' most frequent answer and most frequent wrong one",
    "verdicts": "a problem and a student's solution to be judged; `correct` says what the right verdict is",
}


def data_card(
    title: str,
    builder: str,
    counts: dict,
    problems: dict[str, Problem],
    candidates: Sequence[dict],
    critiques: Sequence[dict],
    examples: Sequence[dict],
) -> str:
    """Markdown with the front matter by which `datasets.load_dataset(folder)` finds the examples."""
    accepted = [row for row in critiques if row["accepted"]]
    lines = [_HEAD.format(title=title, rows=_ROWS[builder])]
    wrong = {(c["problem"], c["answer"]) for c in candidates if c["outcome"] == "wrong"}
    tried, taught = (Counter(row["problem"] for row in rows) for rows in (candidates, examples))
    differing = Counter(problem for problem, _ in wrong)
    lines += table(
        ("problem", "answer", "source", "licence", "candidates", "different wrong answers", "examples"),
        [(p.id, p.answer, p.source, p.licence, tried[p.id], differing[p.id], taught[p.id]) for p in problems.values()],
    )
    students = [(name, s["samples"], f"{s['pass_rate']:.1%}") for name, s in counts["students"].items()]
    if students:
        lines += table(("student", "samples", "pass rate"), students)
    aside = ((f"left out: {why}", n) for why, n in counts["set_aside"].items())
    lines += table(("candidates", "number"), [("all", counts["candidates"]), *counts["outcomes"].items(), *aside])
    if critiques:
        lines += table(("teacher", "style", "critiques", "accepted", "mean words"), _by_style(critiques))
    if counts["dropped"]:
        lines += ["Dropped critiques stay in `critiques.jsonl` with their reason.", ""]
        by_teacher = counts["dropped_by_teacher"].items()
        drops = [(teacher, why, n) for teacher, reasons in by_teacher for why, n in reasons.items()]
        lines += table(("teacher", "dropped because", "number"), drops)
    pairs = [
        (" and ".join(a["teachers"]), a["candidates"], f"{a['same_verdict']:.0%}", f"{a['same_answer']:.0%}")
        for a in counts["agreement"]
    ]
    if pairs:
        lines += table(("teachers", "candidates that both judged", "same verdict", "same answer"), pairs)
    if critiques:
        lines += table(("accepted critiques", ""), _diversity(accepted, examples))
    if counts["changed"]:
        told = ", ".join(f"{what}: {n}" for what, n in counts["changed"].items())
        lines += [f"A control: the examples hold critiques that were changed after the filter ({told}).", ""]
    if counts["cost_usd"]:
        number = counts["estimated"]
        note = f" Tokens of {number} answers are estimated: their server did not tell usable numbers." if number else ""
        lines += [f"The answers of all models cost ${counts['cost_usd']:.4f}.{note}", ""]
    return "\n".join(lines)


def curation_card(pool: Pool, items: Items) -> str:
    """Of the data card: what was kept and why not the rest, rule by rule, with two rows of each that have gone."""
    left, steps = len(pool.left) + sum(pool.counts.values()), []
    steps.append((f"all of {pool.name}", "", left, ""))
    for reason, rows in pool.dropped.items():
        left -= len(rows)
        steps.append((reason, len(rows), left, "; ".join(f"{row.id}: {row.question[:80]}" for row in rows[:2])))
    lines = table(("dropped because", "rows", "left", "such as"), steps)
    words = sorted(len(row.solution.split()) for row in pool.left.values())
    subjects = Counter(pool.subjects[key] for key in pool.left).most_common()
    kept = [("rows", len(words)), ("words: least, middle, most", f"{words[0]}, {words[len(words) // 2]}, {words[-1]}")]
    lines += table(("kept", ""), [*kept, ("subjects", ", ".join(f"{name} {n}" for name, n in subjects))])
    compared = [(task, f"not compared: {of}" if isinstance(of, str) else len(of)) for task, of in items.items()]
    return "\n".join(lines + table((f"no question shares {SHARED_WORDS} words with", "items"), compared))


def agreement(critiques: Iterable[dict]) -> list[dict]:
    """How often two teachers judge the same candidate alike.

    Returns:
        one {"teachers": [a, b], "candidates", "same_verdict", "same_answer"} a pair; the last two are shares of pairs
        of critiques in which both say something. Teachers that read from a file are left out: they judge other
        candidates by choice.
    """
    judgements = defaultdict(lambda: defaultdict(list))  # candidate -> teacher -> [(verdict, answer)]
    for row in critiques:
        if not row["teacher"].startswith("file:"):
            judgements[row["candidate"]][row["teacher"]].append((row["verdict"], row["answer"]))
    rows = []
    for pair in combinations(sorted({t for by in judgements.values() for t in by}), 2):
        both = [by for by in judgements.values() if all(t in by for t in pair)]
        pairs = [(a, b) for by in both for a in by[pair[0]] for b in by[pair[1]]]
        row = {"teachers": list(pair), "candidates": len(both)}
        for i, key in enumerate(("same_verdict", "same_answer")):
            alike = [a[i] == b[i] for a, b in pairs if a[i] is not None and b[i] is not None]
            row |= {key: round(mean(alike), 4)} if alike else {}
        if "same_verdict" in row and "same_answer" in row:
            rows.append(row)
    return rows


def _by_style(critiques: Sequence[dict]) -> list[tuple]:
    groups = defaultdict(list)
    for row in critiques:
        groups[row["teacher"], row["style"]].append(row)
    return [
        (teacher, style, len(rows), sum(r["accepted"] for r in rows), round(mean(len(r["text"].split()) for r in rows)))
        for (teacher, style), rows in sorted(groups.items())
    ]


def _diversity(accepted: Sequence[dict], examples: Sequence[dict]) -> list[tuple]:
    texts = [row["text"] for row in accepted]
    if not texts:
        return [("number", 0)]
    words = sorted(len(text.split()) for text in texts)
    tokens = sorted(round(sum(len(m["content"]) for m in e["completion"]) / CHARACTERS_PER_TOKEN) for e in examples)

    def ends(sizes: list[int]) -> str:
        return f"{sizes[0]}, {sizes[len(sizes) // 2]}, {sizes[-1]}"

    shares = {n: f"{distinct_ngrams(texts, n) or 0:.3f}" for n in (1, 2, 3)}
    return [
        ("number", len(texts)),
        ("words: least, middle, most", ends(words)),
        ("tokens (estimated): least, middle, most", ends(tokens) if tokens else "none"),
        ("different openings (first four words)", len({" ".join(text.split()[:4]).casefold() for text in texts})),
        *((f"distinct-{n} (different runs of {n} words, of all)", share) for n, share in shares.items()),
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown, and an empty one."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(" ".join(in_markdown(str(c)).split()).replace("|", "\\|") for c in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows), ""]
