"""The page of a card: one section a step, a table of what was measured, and why something was not."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from benchmarks.answer import decoders
from benchmarks.gpu.record import Record
from benchmarks.gpu.steps import STEPS, Step
from cft.words import duration, in_markdown, number_of
from eval.report import markdown
from eval.report.tables import Table, bare_p, bounds, interval, memory, percent, points

NOT_MEASURED = "not measured"
ENDED = {"done": "Done", "failed": "Failed", "cut": "Out of time", "skipped": "Left out"}
Rows = list[list[str]]
Told = tuple[list[str], Rows, list[str]]  # headings, rows, sentences below the table


def page(records: dict[str, Record], of: dict[str, Any], notes: list[str], command: str) -> str:
    """The whole page, in Markdown."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = f"{now}; torch {of['torch']}; commit {of['commit'] or 'unknown'}; model {of['model']}."
    blocks = [f"# {in_markdown(of['card'])}", in_markdown(head), f"`{command}`", *map(in_markdown, notes)]
    for step in STEPS:
        blocks += section(step, records[step.name], of)
    return "\n\n".join(blocks) + "\n"


def section(step: Step, record: Record, of: dict[str, Any]) -> list[str]:
    """Heading, question, table and sentences of a step."""
    blocks = [f"## {step.name}", step.question]
    if record.of != of:
        blocks.append(f"Measured with {', '.join(differences(record.of, of))}.")
    if record.skipped or not record.parts:
        return [*blocks, f"{NOT_MEASURED.capitalize()}{': ' + in_markdown(record.skipped) if record.skipped else '.'}"]
    headings, rows, sentences = TABLES[step.name](record)
    if rows:
        blocks.append(markdown.table(Table("", headings, rows)))
    blocks += map(in_markdown, sentences)
    missing = [(name, part) for name, part in record.parts.items() if part["status"] != "done"]
    if short := [f"{name}: {part['why']}" for name, part in missing if part["status"] != "failed"]:
        blocks.append(f"{NOT_MEASURED.capitalize()}:\n\n" + "\n".join(f"- {in_markdown(line)}" for line in short))
    for name, part in missing:
        if part["status"] == "failed":
            blocks += [f"**{in_markdown(name)} failed:**", markdown.fenced(part["why"])]
    return [*blocks, f"{ENDED[record.status]}, {duration(record.seconds)}."]


def differences(found: dict[str, Any], of: dict[str, Any]) -> list[str]:
    """In what results are not those of this machine, model and commit."""
    return [f"{key} {found.get(key)} (not {value})" for key, value in of.items() if found.get(key) != value]


def results_of(record: Record, first: str = "") -> dict[str, dict[str, Any]]:
    """Part -> result, of the parts whose name begins so."""
    return {name: part["result"] for name, part in record.parts.items() if "result" in part and name.startswith(first)}


def gb(number: float | None) -> str:
    """Bytes in GB."""
    return "–" if number is None else f"{number / 1e9:.2f}"


def machine(record: Record) -> Told:
    found = results_of(record).get("machine")
    if not found:
        return [], [], []
    published, peak = found.get("published_flops"), found["peak_flops"]
    products = found["matmul_flops"]
    rows = [[f"{size} x {size} product", f"{flops / 1e12:.2f} TFLOP/s"] for size, flops in products.items()]
    if published:
        rows.append(["best, of the published peak", percent(peak / published)])
    rows.append(["copy of a large tensor", f"{found['copy_bytes_per_second'] / 1e9:.1f} GB/s"])
    rows.append(["launch of a small kernel", f"{found['launch_microseconds']:.2f} µs"])
    if found["device"] == "cuda":
        rows.append(["memory", f"{gb(found['total'])} GB, {gb(found['free'])} free"])
        rows.append(["capability", f"{found['capability']}; torch has code for {', '.join(found['code_for'])}"])
    rows.append(["CUDA of torch", str(found["cuda"] or "none")])
    rows.append(["beside it", ", ".join(found["optional"]) or "none of the optional libraries"])
    rows.append(["libraries", ", ".join(f"{name} {number}" for name, number in found["versions"].items())])
    return ["", found["dtype"]], rows, []


def tests(record: Record) -> Told:
    found = results_of(record).get("tests")
    if not found:
        return [], [], []
    rows = [[name.lower(), str(count)] for name, count in found["counts"].items()]
    return ["outcome", "tests"], rows, [*found["failures"], *found["skipped"]]


def one_problem(record: Record) -> Told:
    rows, sentences = [], []
    for name, found in results_of(record, "seed ").items():
        base, adapter, change = found["arms"]["base"], found["arms"]["adapter"], found["comparison"]
        both = [f"{percent(arm['accuracy'])} ({bounds(arm['ci'])})" for arm in (base, adapter)]
        gain = f"{points(change['difference'])} ({interval(change['ci'])})"
        rates = [f"{arm['n'] * arm['tokens_per_answer'] / arm['seconds']:.0f}" for arm in (base, adapter)]
        peak = memory(max(base["peak_memory_mb"], adapter["peak_memory_mb"], found["training"]["peak_memory_mb"]))
        stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in found["stages"].items())
        trained = f"{found['training']['tokens_per_second']:.0f}"
        rows.append([name, *both, gain, bare_p(change["p"]), trained, " / ".join(rates), peak, stages])
        if not sentences:
            cut = f"{base['hit_limit']} and {adapter['hit_limit']} answers hit the limit of tokens"
            sentences.append(f"{found['task']}, {base['n']} items; {cut}. A base that was scored is not scored again.")
    for effects in (found["effects"] for found in results_of(record, "seeds").values()):
        for name, effect in effects.items():
            p = "" if effect["p"] is None else f", p {bare_p(effect['p'])}"
            many = f"{points(effect['difference'])} points ({interval(effect['ci'])}){p}"
            sentences.append(f"{name}: {many}, over seeds and questions.")
    headings = ["", "base", "adapter", "difference", "McNemar p", "training, tokens/s"]
    return [*headings, "answers, tokens/s", "peak memory", "seconds"], rows, sentences


def memories(record: Record) -> Told:
    rows = []
    for name, found in results_of(record).items():
        room = gb(found["room"])
        told = found.get("error") or found.get("fell_back_to") or "as set"
        fits = "yes" if found["fits"] else "no"
        sizes = [room, gb(found["planned"]), fits, gb(found["measured"])]
        rows.append([name, *sizes, f"{100 * found['off']:+.0f} %", told])
    below = ["GB. On a GPU *measured* holds CUDA's own part, and a smaller card is a cap on what tensors may take."]
    return ["", "card", "planned", "fits by plan", "measured", "off", "trained"], rows, below if rows else []


def training(record: Record) -> Told:
    found = results_of(record).get("race")
    if not found:
        return [], [], []
    sides = list(found["medians"])
    keys = dict.fromkeys(key for measures in found["medians"].values() for key in measures)
    rows = [[key.replace("_", " "), *(str(found["medians"][side].get(key, "–")) for side in sides)] for key in keys]
    ratio = found["ratios"]["tokens_per_second"]
    steps = number_of(found["steps"], "step")
    said = [f"{found['tokens']} tokens in {steps}: {ratio:.2f} times the speed of {sides[1]}."]
    if found["mfu"]:
        said.append(f"MFU {percent(found['mfu'])} of {found['matmul_flops'] / 1e12:.2f} TFLOP/s measured.")
    return ["", *sides], rows, said


def evaluation(record: Record) -> Told:
    rows, found = [], results_of(record)
    for name, one in found.items():
        speeds = [f"{one['tokens_per_second']:.1f}", f"{one['items_per_second']:.2f}"]
        counts = [str(one["correct"]), str(one.get("alike", "–"))]
        rows.append([name, str(one["items"]), *speeds, *counts, memory(one["peak_memory_mb"])])
    chosen = set(decoders()) - {"continuous"}  # transformers', which no recipe can choose
    ours = {name: one["tokens_per_second"] for name, one in found.items() if name in chosen}
    said = ["*As the first*: the same text. In bfloat16 rounding depends on what is computed together."] if rows else []
    if len(ours) > 1:
        so = ", and so what `eval.decoder` should be," if record.of["device"] == "cuda" else ""
        said.append(f"The fastest of ours here{so} is {max(ours, key=ours.get)}.")
    if ours and "lm_eval" in found:
        ratio = max(ours.values()) / found["lm_eval"]["tokens_per_second"]
        said.append(f"Ours is {ratio:.1f} times as fast as lm_eval with its defaults.")
    return ["", "items", "tokens/s", "items/s", "right", "as the first", "peak memory"], rows, said


TABLES: dict[str, Callable[[Record], Told]] = {
    "machine": machine,
    "tests": tests,
    "quickstart": one_problem,
    "memory": memories,
    "training": training,
    "evaluation": evaluation,
    "large": one_problem,
}
