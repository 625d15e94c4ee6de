"""The words of a report: numbers as people read them, and report.md."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from eval.statistics import ALPHA, OUTCOMES

EXAMPLES = 3  # flipped questions shown each way
QUESTION_LENGTH, ANSWER_LENGTH = 800, 1000  # characters shown of a long text: its beginning and its end
ARM_FACTS = (
    "accuracy",
    "95 % interval",
    "correct",
    "wrong",
    "no box",
    "truncated",
    "ungradable",
    "hit limit",
    "accuracy if boxed",
    "tokens per answer",
    "time",
    "peak memory",
)
COMPARISON_HEADINGS = ("arm", "against", "difference", "95 % interval", "McNemar p", "gained", "lost", "detectable")
LEGEND = """\
Correct, wrong and ungradable answers hold a complete `\\boxed{}`; the last one is graded. *No box*: ended without one.
*Truncated*: hit the token limit without one. *Hit limit* counts all that did, boxed or not. *Accuracy if boxed* is the
share of correct ones among boxed answers; each arm boxes other questions, so compare it with care."""


def percent(fraction: float | None) -> str:
    """0.31 -> `31.0 %`."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def points(difference: float) -> str:
    """A difference of accuracies in points: 0.08 -> `+8.0`, with a true minus sign and no signed zero."""
    value = round(100 * difference, 1)
    return "0.0" if value == 0 else f"{value:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def duration(seconds: float | None) -> str:
    """200 -> `3 min 20 s`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def memory(megabytes: float | None) -> str:
    """2048 -> `2.0 GB`."""
    if megabytes is None:
        return "–"
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"


def clean(text: str) -> str:
    """`text` without characters that hide, reorder or cannot be stored: each becomes U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c)[0] == "C" and c not in "\n\t" else c for c in text)


def shorten(text: str, length: int) -> str:
    """`text`, or its beginning and end with an ellipsis that says how much of the middle is left out."""
    if len(text) <= length:
        return text
    head, tail = text[: length // 2], text[-(length // 2) :]
    return f"{head}\n[… {len(text) - len(head) - len(tail)} characters left out …]\n{tail}"


def longest_run(text: str) -> int:
    """Length of the longest run of backticks in `text`."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def fenced(text: str) -> str:
    """`text` as a Markdown code block that nothing in it can close."""
    text = clean(text.replace("\r\n", "\n"))
    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def inline(text: str) -> str:
    """`text` on one line as a Markdown code span; safe outside tables."""
    text = " ".join(clean(text).split())
    ticks = "`" * (longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def fact(value: Any) -> str:
    """A value of the environment on one line."""
    return ", ".join(f"{key} {fact(part)}" for key, part in value.items()) if isinstance(value, dict) else str(value)


def table(headings: Sequence[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is aligned left, the others right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(clean(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(headings), "|---|" + "---:|" * (len(headings) - 1), *map(line, rows)])


def arm_cells(arm: dict) -> list[str]:
    """One column of the table of arms, beside ARM_FACTS."""
    low, high = (f"{100 * bound:.1f}" for bound in arm["ci"])
    return [
        percent(arm["accuracy"]),
        f"{low} to {high}",
        *(str(arm["outcomes"][outcome]) for outcome in OUTCOMES),
        str(arm["hit_limit"]),
        percent(arm["accuracy_boxed"]),
        f"{arm['tokens_per_answer']:.0f}",
        duration(arm["seconds"]),
        memory(arm["peak_memory_mb"]),
    ]


def arm_table(task: dict) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table of arms: one arm a column, so that it fits a terminal and a README."""
    arms = task["arms"]
    columns = [list(ARM_FACTS), *map(arm_cells, arms)]
    return [f"n = {arms[0]['n']}", *(arm["name"] for arm in arms)], [list(row) for row in zip(*columns, strict=True)]


def comparison_cells(comparison: dict) -> list[str]:
    """One row of the table of comparisons, under COMPARISON_HEADINGS."""
    detectable = comparison["smallest_detectable"]
    return [
        comparison["arm"],
        comparison["against"],
        points(comparison["difference"]),
        f"{points(comparison['ci'][0])} to {points(comparison['ci'][1])}",
        p_value(comparison["mcnemar_p"]).removeprefix("p = ").removeprefix("p "),
        str(comparison["gained"]),
        str(comparison["lost"]),
        "none" if detectable is None else f"{100 * detectable:.1f}",
    ]


def headlines(task: dict) -> list[str]:
    """The answer: one sentence for every comparison of the task, or for every arm when there is none."""
    accuracy = {arm["name"]: arm["accuracy"] for arm in task["arms"]}
    sentences = []
    for comparison in task["comparisons"]:
        arm, base = comparison["arm"], comparison["against"]
        numbers = (
            f"{points(comparison['difference'])} points, 95 % interval {points(comparison['ci'][0])} to "
            f"{points(comparison['ci'][1])}, McNemar {p_value(comparison['mcnemar_p'])}, n = {comparison['n']}"
        )
        scores = f"from {percent(accuracy[base])} ({base}) to {percent(accuracy[arm])} ({arm})"
        low, high = comparison["ci"]
        if comparison["shown"]:
            sentences.append(f"{task['recipe']} moved accuracy on {task['task']} {scores}: {numbers}.")
        elif low <= 0 <= high:
            sentences.append(f"No difference was shown on {task['task']}: accuracy went {scores}, {numbers}.")
        else:
            sentences.append(
                f"No difference was shown on {task['task']}: accuracy went {scores}, {numbers}; the interval leaves "
                f"out 0, but too few answers changed for the exact test to agree."
            )
    if not sentences:
        for arm in task["arms"]:
            low, high = (f"{100 * bound:.1f}" for bound in arm["ci"])
            sentences.append(
                f"{arm['name']} scores {percent(arm['accuracy'])} on {task['task']} (95 % interval {low} to {high}, "
                f"n = {arm['n']}); nothing was compared."
            )
    return sentences


def format_sentence(comparison: dict) -> str:
    """Whether the difference is only a matter of boxing the answer: a verdict, and the split in one sentence."""
    split, n = comparison["format"], comparison["n"]
    arm, base = comparison["arm"], comparison["against"]
    form = (split["gained_unboxed"] - split["lost_unboxed"]) / n
    content = (split["gained_boxed"] - split["lost_boxed"]) / n
    if split["both_boxed"]:
        same = (
            f"on the {split['both_boxed']} questions that both boxed, {base} has "
            f"{percent(split['both_boxed_against'])} and {arm} {percent(split['both_boxed_accuracy'])} "
            f"(McNemar {p_value(split['both_boxed_p'])})"
        )
    else:
        same = "no question was boxed by both"
    if not comparison["shown"] or comparison["difference"] < 0:
        verdict = "No gain was shown that would need explaining."
    elif content <= 0:
        verdict = "Yes, as far as this can show."
    elif split["both_boxed_p"] < ALPHA:
        verdict = "No."
    else:
        verdict = "Not decided: the part that is content is too small to tell from chance."
    return (
        f"{verdict} Of the {points(comparison['difference'])} points of {arm}, {points(form)} are format ({base} gave "
        f"no box on {split['gained_unboxed']} of the {comparison['gained']} gained questions, {arm} gave none on "
        f"{split['lost_unboxed']} of the {comparison['lost']} lost) and {points(content)} are content (both gave one, "
        f"{split['gained_boxed']} gained and {split['lost_boxed']} lost); {same}."
    )


def effort_sentence(comparison: dict) -> str:
    """What it would take to see a difference of this size, or the smallest one that these questions can show."""
    detectable, needed = comparison["smallest_detectable"], comparison["questions_needed"]
    changed = comparison["gained"] + comparison["lost"]
    sentence = (
        f"With n = {comparison['n']} and {changed} questions changed by {comparison['arm']}, the smallest difference "
        f"found with 80 % power is about {100 * detectable:.1f} points"
        if detectable is not None
        else f"With n = {comparison['n']} no difference can be found with 80 % power, whatever its size"
    )
    if needed is None:
        return sentence + "."
    return f"{sentence}; a true difference of {points(comparison['difference'])} would take about {needed} questions."


def spread(items: list, count: int) -> list:
    """`count` of `items`, evenly spread from the first to the last: chosen by place, never by looks."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def examples(comparison: dict, answers: dict[str, tuple[dict, list[dict]]]) -> list[str]:
    """Blocks of Markdown: flipped questions, gained and lost, with both answers."""
    arm, base = comparison["arm"], comparison["against"]
    before = {row["doc_id"]: row for row in answers[base][1]}
    after = {row["doc_id"]: row for row in answers[arm][1]}
    blocks = []
    for way, title in (("gained", f"{base} failed, {arm} correct"), ("lost", f"{base} correct, {arm} failed")):
        documents = comparison["flipped"][way]
        chosen = spread(documents, EXAMPLES)
        blocks.append(f"### {way.capitalize()}: {title} ({len(chosen)} of {len(documents)})")
        if not chosen:
            blocks.append("None.")
        for document in chosen:
            row = before[document]
            blocks += [f"**Item {inline(str(document))}**, gold {inline(row['gold'])}"]
            blocks += [fenced(shorten(row["question"], QUESTION_LENGTH))]
            for name, answer in ((base, row), (arm, after[document])):
                blocks.append(f"{name}: *{answer['outcome'].replace('_', ' ')}*, {answer['tokens']} tokens")
                blocks.append(fenced(shorten(answer["response"], ANSWER_LENGTH)))
    return blocks


def task_section(task: dict, answers: dict[str, tuple[dict, list[dict]]]) -> list[str]:
    """Blocks of Markdown for one task: tables, what they mean, flipped questions."""
    blocks = [f"## {task['task']}", table(*arm_table(task)), LEGEND]
    if not task["comparisons"]:
        return blocks
    blocks.append(table(COMPARISON_HEADINGS, [comparison_cells(comparison) for comparison in task["comparisons"]]))
    blocks.append(
        "Differences are in points of accuracy, paired by question: bootstrap interval over questions, exact McNemar "
        "test. *Detectable*: the smallest difference that this many questions find with 80 % power."
    )
    if len(task["comparisons"]) > 1:
        adjusted = ", ".join(f"{c['arm']} {p_value(c['mcnemar_p_holm'])}" for c in task["comparisons"])
        blocks.append(f"Several arms share one base; corrected for that (Holm): {adjusted}.")
    for comparison in task["comparisons"]:
        blocks += [f"**Is it just format?** {format_sentence(comparison)}", effort_sentence(comparison)]
    for comparison in task["comparisons"]:
        blocks += examples(comparison, answers)
    return blocks


def page(report: dict, answers: dict[str, dict[str, tuple[dict, list[dict]]]]) -> str:
    """report.md. `answers` is `{task: {arm: (arm.json, rows)}}`."""
    tasks, environment = report["tasks"], report["environment"]
    blocks = [f"# {report['recipe']}"]
    blocks += [f"**{sentence}**" for task in tasks for sentence in headlines(task)]
    blocks += [f"> **WARNING** ({task['task']}): {warning}" for task in tasks for warning in task["warnings"]]
    blocks.append("![Outcomes of every arm, and what changed against the base](report.png)")
    for task in tasks:
        blocks += task_section(task, answers[task["task"]])
    blocks.append("Long texts are shortened in the middle; `answers.jsonl` of each arm holds them in full.")
    blocks.append("## Environment")
    facts = [f"- {key}: {inline(fact(value))}" for key, value in environment.items() if key != "command"]
    blocks.append("\n".join(facts) or "Not recorded.")
    blocks += ["## Run again", fenced(environment.get("command", f"cft run {report['recipe']}"))]
    return "\n\n".join(blocks) + "\n"
