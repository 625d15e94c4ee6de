"""The plan as a table, every estimate marked with ~."""

from rich.table import Table

from cft.plan.memory import memory_lines
from cft.terminal import Terminal, Text
from cft.words import dollars, roughly
from eval.statistics.power import forecast_sentence


def print_plan(plan: dict, console: Terminal) -> None:
    """One table; every estimate is marked with ~."""
    model, estimates = plan["model"], plan["estimates"]
    fetched = "cached" if model["cached"] else f"to download: {model['download'] or 'size unknown'}"
    taken = f"{model['kind']}, " if model["kind"] else ""
    about = f"  {model['id']} ({taken}{model['licence'] or 'licence unknown'}, {fetched})"
    console.print(Text.assemble((plan["recipe"], "bold"), about))
    if model["note"] and not model["cached"]:
        console.print(f"  {model['note']}", style="yellow")
    table = Table("stage", "rows", "tokens", "time", box=None, pad_edge=False)
    for stage in plan["stages"]:
        time_text = "done" if stage["done"] else roughly(stage["estimates"]["seconds"])
        table.add_row(stage["stage"], stage["rows"], f"~{stage['estimates']['tokens']:,}", time_text)
    console.print(table)
    for stage in plan["stages"]:
        if stage.get("calls") and not stage["done"]:
            console.print("\n".join(map(_calls_line, stage["calls"])))
        if "power" in stage["estimates"]:
            sentence = forecast_sentence(stage["estimates"]["power"])
            console.print(f"  {stage['task']}: ~ {sentence}")
    if plan["slow"]:
        console.print(Text.assemble(("slow:", "yellow"), f" {plan['slow']}"), soft_wrap=True)
    for line in plan["warnings"]:
        console.print(Text.assemble(("warning:", "yellow"), f" {line}"), soft_wrap=True)
    unknown = ["memory: unknown, as this model's sizes are; `cft models path ID` fetches it"]
    lines = memory_lines(plan["memory"]) if plan["memory"] else unknown
    console.print("\n".join(lines), soft_wrap=True)
    memory = f"~{estimates['memory_gb']} GB" if estimates["memory_gb"] else "unknown"
    console.print(
        f"total: {roughly(estimates['total_seconds'])}, memory {memory}, cost {dollars(estimates['cost_usd'])}\n"
        f"run folder: {plan['run']}   (~ marks an estimate)"
    )
    if estimates["cost_usd"] is None:
        console.print("the cost is unknown, because a model has no price: see recipes/prices.yaml")


def _calls_line(row: dict) -> str:
    """What one model will be asked, in a line."""
    calls = f"at most {row['calls']}" if row["at_most"] else str(row["calls"])
    usage = f", usage estimated for {row['estimated']}" if row["estimated"] else ""
    kept = f" ({row['kept']} kept{usage})" if row["kept"] else ""
    return (
        f"  {row['role']} {row['model']} ({row['host']}): {calls} calls{kept}, ~{row['input_tokens']:,} tokens in, "
        f"~{row['output_tokens']:,} out, {dollars(row['cost_usd'])}, {roughly(row['seconds'])}"
    )
