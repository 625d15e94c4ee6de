"""The sentences of a report, and report.md."""

import re
from collections.abc import Sequence
from typing import Any

from cft.words import in_markdown, spread, tidy
from eval.answering.answers import TaskAnswers, model_of, parts_of
from eval.report import curve, stack, tables, training
from eval.report.tables import RECIPE, TESTS, Table, bounds, count_words, interval, p_value, percent, points
from eval.statistics.power import ALPHA

EXAMPLES = 3  # flipped questions shown each way
QUESTION_LENGTH, ANSWER_LENGTH = 800, 1000  # characters shown of a long text: its beginning and its end
LEGEND = """\
Correct, wrong and ungradable answers hold a complete `\\boxed{}`; the last one is graded. *No box*: ended without one.
*Truncated*: hit the token limit without one. *Hit limit* counts all that did, boxed or not. *Accuracy if boxed* is the
share of correct ones among boxed answers; each arm boxes other questions, so compare it with care."""
CONTROL_NOTE = """\
A trained arm with the task's own prompt is compared with the best of the base's other prompts. That one was picked by
its score on these questions, which favours it; p is not corrected for the choice."""
COMPARISON_NOTE = """\
Differences are in points of accuracy, paired by question: bootstrap interval over questions, exact test (McNemar; with
several samples a question, sign flips). *Detectable*: the smallest difference that this many questions find with 80 %
power."""


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
    text = tidy(text)
    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def inline(text: str) -> str:
    """`text` on one line as a Markdown code span; safe outside tables."""
    text = " ".join(tidy(text).split())
    ticks = "`" * (longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def fact(value: Any) -> str:
    """A value of the environment on one line."""
    return ", ".join(f"{key} {fact(part)}" for key, part in value.items()) if isinstance(value, dict) else str(value)


def table(shown: Table) -> str:
    """A Markdown table; the first column is aligned left, the others right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(in_markdown(cell).replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

    others = "---|" if shown.prose else "---:|"
    rule = "|---|" + others * (len(shown.headings) - 1)
    return "\n".join([line(shown.headings), rule, *map(line, shown.rows)])


def section(shown: Table | None) -> list[str]:
    """Blocks of Markdown: a heading, the table and its note; none for no table."""
    if shown is None:
        return []
    return [f"### {shown.caption}", table(shown), *([shown.note] if shown.note else [])]


def headlines(task: dict) -> list[str]:
    """The answer: one sentence for every comparison of the task, or for every arm when there is none."""
    accuracy = {arm["name"]: arm["accuracy"] for arm in task["arms"]}
    counts = {arm["name"]: count_words(arm) for arm in task["arms"]}
    sentences = []
    for comparison in task["comparisons"]:
        arm, base = comparison["arm"], comparison["against"]
        numbers = f"{difference_words(comparison)}, {counts[arm]}"
        scores = f"from {percent(accuracy[base])} ({base}) to {percent(accuracy[arm])} ({arm})"
        low, high = comparison["ci"]
        if comparison["shown"]:
            mover = task["recipe"] if model_of(arm) != "base" else arm
            sentences.append(f"{mover} moved accuracy on {task['task']} {scores}: {numbers}.")
        elif low <= 0 <= high:
            sentences.append(f"No difference was shown on {task['task']}: accuracy went {scores}, {numbers}.")
        else:
            why = "too few answers changed for the exact test to agree"
            if comparison["p"] < ALPHA:
                why = f"not after Holm's correction for the arms compared ({p_value(comparison['p_holm'])})"
            went = f"No difference was shown on {task['task']}: accuracy went {scores}, {numbers}"
            sentences.append(f"{went}; the interval leaves out 0, but {why}.")
    return sentences or [
        f"{arm['name']} scores {percent(arm['accuracy'])} on {task['task']} (95 % interval "
        f"{bounds(arm['ci'])}, {counts[arm['name']]}); nothing was compared."
        for arm in task["arms"]
    ]


def answer(task: dict) -> list[str]:
    """The answer in one sentence, and what the same prompt-only controls say to it.

    It is about what was trained: the adapter, else the merged model, else the first trained arm. Where nothing was
    trained it is about how far the prompt alone moves the base.
    """
    compared = {comparison["arm"]: comparison for comparison in task["comparisons"]}
    trained = [arm for arm in compared if model_of(arm) != "base"]
    if trained:
        order = ("adapter", "merged")
        leading = min(trained, key=lambda arm: (order.index(model_of(arm)) if model_of(arm) in order else 9, len(arm)))
        controls = [control_sentence(control) for control in task["controls"] if control["arm"] == leading]
        return headlines(task | {"comparisons": [compared[leading]]}) + controls
    if len(task["arms"]) < 3 or any(model_of(arm["name"]) != "base" for arm in task["arms"]):
        return headlines(task)
    best, worst = (choose(task["arms"], key=lambda arm: arm["accuracy"]) for choose in (max, min))
    shown = [c["arm"] for c in task["comparisons"] if c["shown"]]
    against = "".join(f" {c['against']}" for c in task["comparisons"][:1])
    ways = "prompts and elicitors" if any(parts_of(arm["name"])[2] for arm in task["arms"]) else "prompts"
    return [
        f"Over {len(task['arms'])} {ways} for the same untrained model, accuracy on {task['task']} ranges from "
        f"{percent(worst['accuracy'])} ({worst['name']}) to {percent(best['accuracy'])} ({best['name']}), "
        f"{count_words(task['arms'][0])}. Shown to differ from{against}, after Holm's correction: "
        f"{', '.join(shown) or 'none'}."
    ]


def difference_words(comparison: dict) -> str:
    """`+8.0 points, 95 % interval +3.1 to +12.9, McNemar p = 0.002`."""
    return (
        f"{points(comparison['difference'])} points, 95 % interval {interval(comparison['ci'])}, "
        f"{TESTS[comparison['test']]} {p_value(comparison['p'])}"
    )


def control_sentence(control: dict) -> str:
    """What a prompt or an elicitor alone does, and what training adds to it."""
    arm, against = control["arm"], control["against"]
    verdict = "differs from" if control["shown"] else "is not shown to differ from"
    kind = "an elicitor" if parts_of(against)[2] else "a prompt"
    return f"{arm} {verdict} {against}, {kind} without training: {difference_words(control)}."


def format_sentence(comparison: dict) -> str:
    """Whether the difference is only a matter of boxing the answer: a verdict, and the split in one sentence."""
    split, n = comparison["format"], comparison["n"]
    arm, base = comparison["arm"], comparison["against"]
    single = comparison["test"] == "mcnemar"
    unit, pairs = ("questions", "questions") if single else ("questions' worth of samples", "pairs of samples")
    gained, lost = (amount(split[f"{way}_unboxed"] + split[f"{way}_boxed"]) for way in ("gained", "lost"))
    form = (split["gained_unboxed"] - split["lost_unboxed"]) / n
    content = (split["gained_boxed"] - split["lost_boxed"]) / n
    if split["both_boxed"]:
        same = (
            f"on the {amount(split['both_boxed'])} {pairs} that both boxed, {base} has "
            f"{percent(split['both_boxed_against'])} and {arm} {percent(split['both_boxed_accuracy'])} "
            f"({TESTS[comparison['test']]} {p_value(split['both_boxed_p'])})"
        )
    else:
        same = "no question was boxed by both"
    if not comparison["shown"] or comparison["difference"] < 0:
        verdict = "No gain was shown that would need explaining."
    elif split["both_boxed"] < n / 10:
        verdict = "That cannot be told: hardly a question was boxed by both, and an answer may lack more than its box."
    elif content <= 0:
        verdict = "Yes, as far as this can show."
    elif split["both_boxed_p"] < ALPHA:
        verdict = "No."
    else:
        verdict = "Not decided: the part that is content is too small to tell from chance."
    return (
        f"{verdict} Of the {points(comparison['difference'])} points of {arm}, {points(form)} are format ({base} gave "
        f"no box on {amount(split['gained_unboxed'])} of the {gained} gained {unit}, {arm} gave none on "
        f"{amount(split['lost_unboxed'])} of the {lost} lost) and {points(content)} are content (both gave one, "
        f"{amount(split['gained_boxed'])} gained and {amount(split['lost_boxed'])} lost); {same}."
    )


def amount(count: float) -> str:
    """12 -> `12`, 3.25 -> `3.2`: pairs of samples count by their share of a question."""
    return str(count) if isinstance(count, int) else f"{count:.1f}"


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


def examples(comparison: dict, answers: TaskAnswers) -> list[str]:
    """Blocks of Markdown: flipped questions, gained and lost, with both answers."""
    arm, base = comparison["arm"], comparison["against"]
    before, after = ({row["doc_id"]: row for row in reversed(answers[name][1])} for name in (base, arm))
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


def task_section(task: dict, answers: TaskAnswers, pictures: dict[str, str]) -> list[str]:
    """Blocks of Markdown for one task: tables, what they mean, flipped questions."""
    blocks = [f"## {task['task']}", table(tables.arms_across(task)), LEGEND]
    if task["comparisons"]:
        blocks.append(table(tables.comparisons(task["comparisons"], "Differences")))
        blocks.append(COMPARISON_NOTE)
    if len(task["comparisons"]) > 1:
        adjusted = ", ".join(f"{c['arm']} {p_value(c['p_holm'])}" for c in task["comparisons"])
        blocks.append(f"Several arms share one base; corrected for that (Holm): {adjusted}.")
    for comparison in task["comparisons"]:
        blocks += [f"**Is it just format?** {format_sentence(comparison)}", effort_sentence(comparison)]
    if task["controls"]:
        blocks += ["### What a prompt alone does", *map(control_sentence, task["controls"]), CONTROL_NOTE]
    for group in tables.group_tables(task):
        blocks += section(group)
    blocks += [*section(tables.curve_table(task)), *section(tables.step_table(task))]
    if task.get("selection"):
        blocks += [*section(curve.curve_by_step(task)), *curve.sentences(task)]
    blocks += [f"![{name}]({file})" for name, file in pictures.items()]
    blocks += section(tables.trait_table(task))
    blocks += [*section(tables.reflection_table(task)), *section(tables.opening_table(task))]
    for published in tables.published_tables(task):
        if published.caption.startswith(tables.SAME_MODEL):
            blocks += section(published)
            blocks += [range_sentence(task)] if task["published"]["range"] else []
        else:
            blocks.append("report.html has published scores of other models beside these.")
    for comparison in task["comparisons"]:
        blocks += examples(comparison, answers)
    return blocks


def range_sentence(task: dict) -> str:
    """How far papers disagree on our untrained model."""
    span = task["published"]["range"]
    low, high = (percent(span[end] / 100) for end in ("low", "high"))
    return (
        f"Published scores of {span['model']} on {task['published']['benchmark']}, without any training, range from "
        f"{low} to {high}."
    )


def page(report: dict, answers: dict[str, TaskAnswers], pictures: dict[str, dict[str, str]]) -> str:
    """report.md.

    Args:
        answers: by task.
        pictures: {task: {what it shows: file}}, beside report.png.
    """
    tasks, environment = report["tasks"], report["environment"]
    blocks = [f"# {report['recipe']}"]
    blocks += [f"**{sentence}**" for task in tasks for sentence in answer(task)]
    blocks += [
        f"> **WARNING** ({task['task']}): {in_markdown(warning)}" for task in tasks for warning in task["warnings"]
    ]
    blocks.append("![Outcomes of every arm, and what changed against the base](report.png)")
    blocks.append("[report.html](report.html) has all this and every answer.")
    for task in tasks:
        blocks += task_section(task, answers[task["task"]], pictures.get(task["task"], {}))
    if stack.PANEL.is_there(report):
        blocks += [f"## {stack.PANEL.caption}", f"![{stack.described(report)}]({stack.FILE})"]
        blocks.append("  \n".join(training.caption(report["training"])))
    blocks.append("Long texts are shortened in the middle; `answers.jsonl` of each arm holds them in full.")
    blocks.append("## Environment")
    blocks.append("\n".join(f"- {key}: {inline(value)}" for key, value in facts(environment)) or "Not recorded.")
    for task in tasks:
        blocks += section(tables.setting_table(task))
    blocks += ["## Run again", fenced(command(report))]
    if RECIPE in environment:
        blocks.append(fenced(environment[RECIPE].rstrip()))
    return "\n\n".join(blocks) + "\n"


def facts(environment: dict) -> list[tuple[str, str]]:
    """What is known of the environment, but for what stands elsewhere."""
    return [(key, fact(value)) for key, value in environment.items() if key not in ("command", RECIPE)]


def command(report: dict) -> str:
    """What makes this report again."""
    return report["environment"].get("command", f"cft run {report['recipe']}")
