"""The tables of a report, as words: report.md, report.html and the terminal show the same ones."""

from collections.abc import Callable
from dataclasses import dataclass

import cft.words
from eval.report.panels import OUTCOME_STYLE
from eval.statistics.behaviour import REFLECTIONS, TRAITS
from eval.statistics.statistics import OUTCOMES

TESTS = {"mcnemar": "McNemar", "permutation": "sign-flip", "seeds": "random effects"}  # the test behind p, in a word
SAME_MODEL = "Published scores of the same model"
RECIPE = "recipe_yaml"  # key of the environment: the recipe's text
SETTINGS = ("max_new_tokens", "samples", "temperature", "top_p", "top_k", "batch_size", "decoder", "device", "dtype")


@dataclass(frozen=True)
class Table:
    """Headings and cells; the first column names the row, the others are numbers or words, in one or two lines."""

    caption: str
    headings: list[str]
    rows: list[list[str]]
    note: str = ""
    prose: bool = False  # cells are sentences, not numbers


def percent(fraction: float | None) -> str:
    """0.31 -> `31.0 %`."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def points(difference: float) -> str:
    """A difference of accuracies in points: 0.08 -> `+8.0`, with a true minus sign and no signed zero."""
    return signed(100 * difference)


def signed(value: float) -> str:
    """A number with one decimal and its sign: `+8.0`, `−0.3`, `0.0`."""
    value = round(value, 1)
    return "0.0" if value == 0 else f"{value:+.1f}".replace("-", "−")


def interval(ci: list[float] | None, show: Callable[[float], str] = points) -> str:
    """`+0.4 to +7.9`; a dash when there is none."""
    return "–" if ci is None else f"{show(ci[0])} to {show(ci[1])}"


def bounds(ci: list[float]) -> str:
    """The interval of an accuracy in per cent: `12.5 to 21.9`."""
    return interval(ci, lambda bound: f"{100 * bound:.1f}")


def p_value(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def duration(seconds: float | None) -> str:
    """200 -> `3 min 20 s`."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 60 else cft.words.duration(seconds)


def memory(mebibytes: float | None) -> str:
    """2048 -> `2.0 GiB`."""
    if mebibytes is None:
        return "–"
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def arm_facts(arm: dict) -> dict[str, str]:
    """What is known of one arm, by its heading."""
    return {
        "accuracy": percent(arm["accuracy"]),
        "95 % interval": bounds(arm["ci"]),
        **{OUTCOME_STYLE[outcome][0]: str(arm["outcomes"][outcome]) for outcome in OUTCOMES},
        "hit limit": str(arm["hit_limit"]),
        "accuracy if boxed": percent(arm["accuracy_boxed"]),
        "tokens per answer": f"{arm['tokens_per_answer']:.0f}",
        "time": duration(arm["seconds"]),
        "peak memory": memory(arm["peak_memory_mb"]),
    }


def count_words(arm: dict) -> str:
    """`n = 500`, or `n = 500 × 4 samples`."""
    samples = arm.get("samples", 1)
    return f"n = {arm['n']}" + (f" × {samples} samples" if samples > 1 else "")


def arms_across(task: dict) -> Table:
    """One arm a column, so that a few arms fit a terminal and a README."""
    arms = task["arms"]
    facts = [arm_facts(arm) for arm in arms]
    rows = [[name, *(of_arm[name] for of_arm in facts)] for name in facts[0]]
    return Table("Arms", [count_words(arms[0]), *(arm["name"] for arm in arms)], rows)


def arms_down(task: dict) -> Table:
    """One arm a row, for a page as wide as it likes."""
    arms = task["arms"]
    rows = [[arm["name"], *arm_facts(arm).values()] for arm in arms]
    return Table(f"Accuracy and outcomes of every arm, {count_words(arms[0])}", ["arm", *arm_facts(arms[0])], rows)


def comparisons(pairs: list[dict], caption: str) -> Table:
    """Paired differences."""
    tests = " / ".join(dict.fromkeys(TESTS[pair["test"]] for pair in pairs))
    headings = ["arm", "against", "difference", "95 % interval", f"{tests} p", "gained", "lost", "detectable"]
    rows = []
    for pair in pairs:
        found = pair["smallest_detectable"]
        change = [points(pair["difference"]), interval(pair["ci"]), bare_p(pair["p"])]
        detectable = "none" if found is None else f"{100 * found:.1f}"
        rows.append([pair["arm"], pair["against"], *change, str(pair["gained"]), str(pair["lost"]), detectable])
    return Table(caption, headings, rows)


def bare_p(p: float) -> str:
    """`0.012`, `< 0.001`: for a cell under a heading that says p."""
    return p_value(p).removeprefix("p = ").removeprefix("p ")


def group_tables(task: dict) -> list[Table]:
    """Accuracy by subject and by level."""
    tables = []
    for key, lines in task["groups"].items():
        arms = list(lines[0]["arms"])
        rows = []
        for line in lines:
            cells = [f"{line['group']} (n = {line['n']})"]
            for arm in arms:
                found = line["arms"][arm]
                change = f"\n({points(found['difference'])}, p {bare_p(found['p_holm'])})" if "p" in found else ""
                cells.append(f"{percent(found['accuracy'])}{change}")
            rows.append(cells)
        note = "In brackets: paired difference in points, and p after Holm's correction over the groups of one arm."
        tables.append(Table(f"Accuracy by {key}", [key, *arms], rows, note if len(arms) > 1 else ""))
    return tables


def curve_table(task: dict) -> Table | None:
    """pass@k and maj@k of arms with several samples; None when there is none."""
    arms = [arm for arm in task["arms"] if arm["samples"] > 1]
    ks = sorted({int(k) for arm in arms for k in arm["pass_at_k"]})
    rows = []
    for k in map(str, ks):
        cells = [k]
        for arm in arms:
            for curve in ("pass_at_k", "maj_at_k"):
                there = k in arm[curve]
                cells.append(f"{percent(arm[curve][k])}\n({bounds(arm[f'{curve}_ci'][k])})" if there else "–")
        rows.append(cells)
    headings = ["k", *(f"{arm['name']} {curve}" for arm in arms for curve in ("pass@k", "maj@k"))]
    note = (
        "pass@k: at least one of k samples is correct (unbiased estimate). maj@k: the most frequent of k boxed answers "
        "is. In brackets: 95 % interval over questions."
    )
    return Table("Several samples a question", headings, rows, note) if rows else None


def step_table(task: dict) -> Table | None:
    """Accuracy after so many training steps; None unless that was scored."""
    rows = [[str(p["step"]), p["arm"], percent(p["accuracy"]), bounds(p["ci"])] for p in task["steps"]]
    return Table("Accuracy against training", ["step", "arm", "accuracy", "95 % interval"], rows) if rows else None


def protocol_words(protocol: dict) -> str:
    """How a score was measured, in one line; what is not known is left out."""
    temperature, limit, selection = protocol["temperature"], protocol["max_tokens"], protocol["selection"]
    heat = "greedy" if temperature == 0 else f"temperature {temperature:g}" if temperature is not None else None
    samples = protocol["samples"]
    parts = [
        f"prompt {protocol['prompt']}" if protocol["prompt"] else None,
        heat,
        f"{samples} samples" if samples and samples > 1 else None,
        f"{limit} tokens" if limit else None,
        f"grader {protocol['grader']}" if protocol["grader"] else None,
        protocol["precision"],
        f"checkpoint chosen on: {selection}" if selection and selection != "none" else None,
    ]
    return ", ".join(part for part in parts if part) or "not stated"


def verdict_words(score: dict) -> str:
    """Whether a published score may be put beside ours, and why not."""
    if score["comparable_with"]:
        return f"comparable with {', '.join(score['comparable_with'])}"
    return f"not comparable with {score['reasons_against']}, because: {'; '.join(score['reasons'])}"


def published_tables(task: dict) -> list[Table]:
    """Published scores of this benchmark: of our model, then of others."""
    found = task["published"]
    if not found:
        return []
    ours = {protocol["model"] for protocol in found["ours"].values()}
    headings = ["model and method", "score", "protocol", "beside ours", "source"]
    tables = []
    for same in (True, False):
        rows = [
            [
                f"{score['model']}, {score['method']}" + (f" ({score['data']})" if score["data"] else ""),
                f"{score['value']:.1f}" + (f" ± {score['spread']:.1f}" if score["spread"] is not None else "") + " %",
                protocol_words(score["protocol"]),
                verdict_words(score),
                score["source"] + ("" if score["checked"] else " (from a secondary summary)"),
            ]
            for score in found["scores"]
            if (score["model"] in ours) is same
        ]
        whose = SAME_MODEL if same else "Published scores of other models"
        if rows:
            more = found["left_out"] if not same else 0
            note = f"{more} more are in eval/baselines/baselines.yaml." if more else ""
            tables.append(Table(f"{whose} on {found['benchmark']}", headings, rows, note, prose=True))
    return tables


def trait_table(task: dict) -> Table:
    """Share of answers with each trait by arm, and the paired difference where the arm was compared."""
    arms = task["behaviour"]
    rows = []
    for trait, words in TRAITS.items():
        row = [words]
        for arm in arms.values():
            value, difference = arm["traits"][trait], arm.get("differences", {}).get(trait)
            cell = f"{value:.0f}" if trait == "tokens" else percent(value)
            row.append(cell + (f"\n({_change(trait, difference)})" if difference else ""))
        rows.append(row)
    note = (
        "In brackets: paired difference in points (tokens: in tokens) and its 95 % interval by Student's t over "
        "questions, not corrected for the number of traits. Traits are found by patterns in the text."
    )
    compared = any("differences" in arm for arm in arms.values())
    return Table("Traits of the answers", ["share of answers", *arms], rows, note if compared else "")


def _change(trait: str, difference: dict) -> str:
    show = signed if trait == "tokens" else points
    told = show(difference["difference"])
    return told + (f", {interval(difference['ci'], show)}" if difference["ci"] else "")


def reflection_table(task: dict) -> Table | None:
    """Share of answers with each word of a second look; None when no answer holds any."""
    arms = task["behaviour"]
    used = [word for word in REFLECTIONS if any(arm["reflections"][word] for arm in arms.values())]
    rows = [[word, *(percent(arm["reflections"][word]) for arm in arms.values())] for word in used]
    return Table("Words of a second look", ["share of answers", *arms], rows) if rows else None


def opening_table(task: dict) -> Table:
    """How answers begin: the most frequent first words of every arm."""
    arms = task["behaviour"]
    longest = max(len(arm["openings"]) for arm in arms.values())
    rows = []
    for place in range(longest):
        cells = [arm["openings"][place : place + 1] for arm in arms.values()]
        shown = [f"{cell[0][0] or '(nothing)'}\n{percent(cell[0][1])}" if cell else "–" for cell in cells]
        rows.append([f"{place + 1}.", *shown])
    return Table("First words", ["", *arms], rows)


def setting_table(task: dict) -> Table:
    """What made the answers of every arm; settings that no arm records are left out."""
    arms = task["arms"]
    known = [key for key in SETTINGS if any(key in arm.get("settings", {}) for arm in arms)]
    rows = [
        [arm["name"], str(arm.get("fingerprint", "–")), *(str(arm.get("settings", {}).get(key, "–")) for key in known)]
        for arm in arms
    ]
    return Table("Settings of every arm", ["arm", "fingerprint", *(key.replace("_", " ") for key in known)], rows)
