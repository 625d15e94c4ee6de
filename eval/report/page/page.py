"""report.html: the whole report as one file that fetches nothing, with a browser of all answers."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from eval.answering.answers import TaskAnswers
from eval.report import curve, markdown, plots, stack, tables, training
from eval.report.page.items import collect, script, tidy
from eval.report.panels import Panel
from eval.report.tables import RECIPE, Table

HERE = Path(__file__).parent
MOST_SENTENCES = 2  # of a kind that stand open; more are folded away


def page(report: dict, answers: dict[str, TaskAnswers]) -> str:
    """The page of `report`, made by `eval.report.report.build_report` from `answers`.

    Its address holds which answers are shown: `report.html#item=12&show=gained`, also `task`, `a` and `b` (the two
    arms), `sample`, `subject`, `level` and `search`. `show` is gained, lost, failed, truncated or nobox.
    """
    tasks = report["tasks"]
    parts = {
        "title": text(report["recipe"]),
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "head": head(report),
        "sections": "\n".join(
            [*(task_section(task, number) for number, task in enumerate(tasks)), training_section(report)]
        ),
        "again": run_again(report),
        "data": script(collect(report, answers)),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def text(words: str) -> str:
    """Words as HTML that shows exactly them."""
    return escape(tidy(str(words)))


def prose(words: str) -> str:
    """A sentence of the report with its Markdown for emphasis and code turned into HTML."""
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", text(words))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", shown)


def html_table(shown: Table | None) -> str:
    """A table with its caption. Roles are given because on a phone its rows are laid out as cards."""
    if shown is None:
        return ""
    headings = "".join(f'<th role="columnheader" scope="col">{text(heading)}</th>' for heading in shown.headings)
    rows = []
    for first, *cells in shown.rows:
        named = "".join(
            f'<td role="cell" data-label="{text(heading)}">{text(cell)}</td>'
            for heading, cell in zip(shown.headings[1:], cells, strict=True)
        )
        rows.append(f'<tr role="row"><th role="rowheader" scope="row">{text(first)}</th>{named}</tr>')
    note = f'<p class="soft">{prose(shown.note)}</p>' if shown.note else ""
    return (
        f'<div class="wide"><table role="table"{" class=prose" if shown.prose else ""}>'
        f"<caption>{text(shown.caption)}</caption>"
        f'<thead role="rowgroup"><tr role="row">{headings}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table></div>{note}'
    )


def picture(panel: Panel, task: dict, *, titled: bool, described: str = "") -> str:
    """A panel as a figure, with a title inside where no heading of the page says the same."""
    label = described or f"{panel.caption}; the table has the numbers"
    drawn = f'<div role="img" aria-label="{text(label)}">{plots.svg(panel, task, titled=titled)}</div>'
    return f"<figure>{drawn}<figcaption>{text(panel.caption)}</figcaption></figure>"


def head(report: dict) -> str:
    """The answer, the arms as tiles, and what must be known before believing them."""
    lines = []
    for task in report["tasks"]:
        lines += [f'<p class="answer">{text(sentence)}</p>' for sentence in markdown.answer(task)]
        lines += [
            f'<p class="warning" role="note"><strong>Warning</strong> ({text(task["task"])}): {text(warning)}</p>'
            for warning in task["warnings"]
        ]
        tiles = "".join(
            f"<div><dt>{text(arm['name'])}</dt><dd>{text(tables.percent(arm['accuracy']))}</dd>"
            f'<dd class="soft">{text(tables.bounds(arm["ci"]))}</dd></div>'
            for arm in task["arms"]
        )
        named = f"Accuracy on {task['task']}, 95 % interval, {tables.count_words(task['arms'][0])}"
        lines.append(f'<p class="soft tiles-of">{text(named)}</p><dl class="tiles">{tiles}</dl>')
    return "\n".join(lines)


def task_section(task: dict, number: int) -> str:
    """Everything about one task but its answers."""
    drawn = dict(plots.panels(task))
    side_by_side = ("outcomes", "changes", *task["groups"])
    figures = {name: picture(panel, task, titled=name in side_by_side) for name, panel in drawn.items()}
    glance = f'<div class="figures">{figures["outcomes"]}{figures.get("changes", "")}</div>'
    cards = [card("Arms", glance, html_table(tables.arms_down(task)), paragraph(markdown.LEGEND))]
    if task["comparisons"]:
        cards.append(changes_card(task))
    if task["groups"]:
        drawn_groups = f'<div class="figures">{"".join(figures[key] for key in task["groups"])}</div>'
        title = f"Accuracy by {' and '.join(task['groups'])}"
        cards.append(card(title, drawn_groups, *map(html_table, tables.group_tables(task))))
    if "samples" in figures:
        cards.append(beside("Several samples a question", figures["samples"], tables.curve_table(task)))
    if "steps" in figures:
        cards.append(beside("Accuracy against training", figures["steps"], tables.step_table(task)))
    if "selection" in figures:
        told = "".join(map(paragraph, curve.sentences(task)))
        steps = map(html_table, (curve.curve_by_step(task), tables.step_table(task)))
        cards.append(card("How the step was chosen", figures["selection"], told, *steps))
    traits = (tables.trait_table(task), tables.reflection_table(task), tables.opening_table(task))
    cards.append(card("What the answers are like", *map(html_table, traits)))
    if "published" in figures:
        cards.append(published_card(task, figures["published"]))
    anchor = f' id="task-{number}"'
    return f'<section{anchor} class="task"><h2>{text(task["task"])}</h2>\n{"".join(cards)}</section>'


def training_section(report: dict) -> str:
    """The training of the run, if its log has something to draw."""
    if not stack.PANEL.is_there(report):
        return ""
    figure = picture(stack.PANEL, report, titled=True, described=stack.described(report))
    told = "".join(map(paragraph, training.caption(report["training"])))
    beside = f'<div class="beside">{figure}<div class="wide">{told}</div></div>'
    return f'<section id="training"><h2>Training</h2>\n{card(stack.PANEL.caption, beside)}</section>'


def card(title: str, *parts: str) -> str:
    """A part of the page under a heading of its own."""
    return f'<section class="card"><h3>{text(title)}</h3>\n{"".join(parts)}</section>\n'


def beside(title: str, figure: str, shown: Table) -> str:
    """A card with a figure and its table, side by side where the table is narrow enough."""
    kind = "beside" if len(shown.headings) < 5 else "below"
    return card(title, f'<div class="{kind}">{figure}{html_table(shown)}</div>')


def paragraph(words: str, kind: str = "soft") -> str:
    return f'<p class="{kind}">{prose(words)}</p>'


def changes_card(task: dict) -> str:
    """Paired differences, what they are made of, and what a prompt alone does."""
    shown = tables.comparisons(task["comparisons"], f"Paired differences on {task['task']}")
    parts = [html_table(shown), paragraph(markdown.COMPARISON_NOTE)]
    if len(task["comparisons"]) > 1:
        adjusted = ", ".join(f"{c['arm']} {tables.p_value(c['p_holm'])}" for c in task["comparisons"])
        parts.append(paragraph(f"Several arms share one base; corrected for that (Holm): {adjusted}."))
    if task["controls"]:
        parts += [
            "<h4>What a prompt alone does</h4>",
            html_table(tables.comparisons(task["controls"], "Trained arms against the base with another prompt")),
            paragraph(markdown.CONTROL_NOTE),
        ]
    parts += ["<h4>Is it just format?</h4>", sentences(map(markdown.format_sentence, task["comparisons"]))]
    parts += ["<h4>What could be seen</h4>", sentences(map(markdown.effort_sentence, task["comparisons"]))]
    return card("What changed", *parts)


def sentences(told: Iterable[str]) -> str:
    """One paragraph a sentence; where there are many, only the last arm's stands open."""
    told = [f"<p>{text(sentence)}</p>" for sentence in told]
    if len(told) <= MOST_SENTENCES:
        return "".join(told)
    return f"{told[-1]}<details><summary>The other arms</summary>{''.join(told[:-1])}</details>"


def published_card(task: dict, figure: str) -> str:
    """Published scores: of our model in full, of others folded away; and what the prompts are called."""
    found = task["published"]
    parts = [figure]
    if found["range"]:
        parts.append(f"<p>{text(markdown.range_sentence(task))}</p>")
    ours = {f"{arm}: {tables.protocol_words(protocol)}" for arm, protocol in found["ours"].items()}
    parts.append(paragraph(f"Ours. {'; '.join(sorted(ours))}."))
    for shown in tables.published_tables(task):
        own = shown.caption.startswith(tables.SAME_MODEL)
        parts.append(html_table(shown) if own else aside(shown.caption, html_table(shown)))
    used = {score["protocol"]["prompt"] for score in found["scores"]} | {p["prompt"] for p in found["ours"].values()}
    prompts = [(name, meant) for name, meant in found["prompts"].items() if name in used]
    words = "".join(f"<dt><code>{text(name)}</code></dt><dd>{text(meant)}</dd>" for name, meant in prompts)
    parts.append(aside("What the prompts are", f'<dl class="facts">{words}</dl>'))
    return card("Beside published scores", *parts)


def aside(title: str, inside: str) -> str:
    """What is folded away on the screen and left out on paper."""
    return f'<details class="aside"><summary>{text(title)}</summary>{inside}</details>'


def run_again(report: dict) -> str:
    """Command, environment, settings of every arm, and the recipe."""
    environment = report["environment"]
    facts = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in markdown.facts(environment))
    parts = [f"<pre><code>{text(markdown.command(report))}</code></pre>"]
    parts.append(f'<dl class="facts">{facts}</dl>' if facts else paragraph("The environment was not recorded."))
    for task in report["tasks"]:
        shown = tables.setting_table(task)
        named = f"{shown.caption} on {task['task']}" if len(report["tasks"]) > 1 else shown.caption
        parts.append(html_table(Table(named, shown.headings, shown.rows)))
    if RECIPE in environment:
        recipe = f"<pre><code>{text(environment[RECIPE])}</code></pre>"
        parts.append(f"<details><summary>recipe.yaml</summary>{recipe}</details>")
    return "".join(parts)
