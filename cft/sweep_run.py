"""Runs the points of a sweep one after the other, and says beforehand what that would take."""

from contextlib import suppress
from pathlib import Path

from rich.table import Table

from cft.errors import CFTError
from cft.files import content_id, read_json, remove_leftovers
from cft.pipeline import file_hashes, run_stages
from cft.plan.plan import make_plan
from cft.recipe.sweep import LoadedSweep
from cft.runs import DATA, MANIFEST, REPORT_JSON, run_of
from cft.terminal import Terminal, Text
from cft.words import dollars, roughly, shell_line
from eval.compare.sweep_report import write_sweep
from eval.compare.sweep_table import DONE, FAILED, WAITING, PointRun, SweepState, build_table


def run_sweep(
    loaded: LoadedSweep, root: Path, console: Terminal, *, command: str, max_cost: float | None = None
) -> dict:
    """Bring every run of a sweep to its end; a run that fails is noted, and the others go on.

    After each run the table is written into `root`/sweeps/NAME. Finished stages are not run again, and a base that
    any run has scored with the same settings is not scored again, so the same command goes on after a kill.

    Args:
        command: what was typed, for the page.
        max_cost: USD for the making of all points' data. An answer that several points use counts for each of them.

    Returns:
        what sweep.json holds (`eval.compare.sweep_table.build_table`), and "out", its folder.
    """
    out, spent = root / "sweeps" / loaded.sweep.name, 0.0
    remove_leftovers(out)
    state = new_state(loaded, root, command)
    for number, one in enumerate(state.runs, 1):
        console.rule(f"{number} of {len(state.runs)}: {one.point}, seed {one.recipe.seed}", align="left")
        left = None if max_cost is None else max(0.0, max_cost - spent)
        try:
            one.status = WAITING
            one.run = run_stages(one.recipe, root, console, max_cost=left)
            one.status = DONE
            spent += (one.run.manifest(DATA) or {}).get("cost_usd") or 0.0
        except CFTError as error:
            one.status, one.error = FAILED, str(error)
            console.print(Text(f"failed: {one.point}, seed {one.recipe.seed}: {error}", style="red"))
        finally:
            write_sweep(build_table(state), out)
    return build_table(state) | {"out": str(out)}


def new_state(loaded: LoadedSweep, root: Path, command: str) -> SweepState:
    """The runs of a sweep, those that are finished already marked as such."""
    sweep, varied = loaded.sweep, list(loaded.sweep.vary)
    state = SweepState(sweep.name, sweep.description, loaded.recipe, command, varied[0] if len(varied) == 1 else "")
    for point in loaded.points:
        value = next(iter(point.varied.values())) if len(point.varied) == 1 else None
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        for recipe in point.recipes:
            seed = [f"seed={recipe.seed}"] if sweep.seeds else []
            alone = shell_line("cft", "run", loaded.recipe, f"name={sweep.name}", *point.overrides, *seed)
            one = PointRun(point.name, recipe, alone, number)
            with suppress(CFTError):  # its run will say what is wrong
                run = run_of(recipe, file_hashes(recipe), root)
                if read_json(run.report / REPORT_JSON) and read_json(run.eval / MANIFEST):
                    one.run, one.status = run, DONE
            state.runs.append(one)
    return state


def plan_sweep(loaded: LoadedSweep, root: Path) -> dict:
    """Every run's stages, time and cost, without running anything.

    A base that an earlier run of the sweep scores with the same settings costs no time again.

    Returns:
        {"sweep", "recipe", "runs": [{"point", "seed", "run", "stages": {name: seconds}, "seconds", "cost_usd",
        "memory_gb", "fault"}], "seconds", "cost_usd"}. Seconds and USD are estimates, None where one is not known;
        "fault" says why a run cannot be planned.
    """
    runs, scored = [], set()
    for point in loaded.points:
        for recipe in point.recipes:
            row = {"point": point.name, "seed": recipe.seed, "run": None, "stages": {}, "fault": ""}
            row |= dict.fromkeys(["seconds", "cost_usd", "memory_gb"])
            runs.append(row)
            try:
                plan = make_plan(recipe, root)
            except CFTError as error:
                row["fault"] = str(error)
                continue
            same = content_id(recipe.model.model_dump(mode="json"), recipe.eval.model_dump(mode="json"))
            of_base = sum(arm.model == "base" for arm in recipe.eval.arms) / len(recipe.eval.arms)
            for stage in plan["stages"]:
                took = 0 if stage["done"] else stage["estimates"]["seconds"]
                if stage["stage"] == "eval" and same in scored and took:
                    took *= 1 - of_base
                before = row["stages"].get(stage["stage"], 0)
                row["stages"][stage["stage"]] = None if None in (took, before) else before + round(took)
            scored.add(same)
            row |= {key: plan["estimates"][key] for key in ("cost_usd", "memory_gb")}
            row |= {"run": plan["run"], "seconds": _total(row["stages"].values())}
    return {
        "sweep": loaded.sweep.name,
        "recipe": loaded.recipe,
        "runs": runs,
        "seconds": _total(row["seconds"] for row in runs),
        "cost_usd": _total(row["cost_usd"] for row in runs),
    }


def _total(values) -> float | None:
    values = list(values)
    return None if None in values else sum(values)


def print_plan(plan: dict, console: Terminal) -> None:
    """One row a run; every time and cost is an estimate."""
    stages = list(dict.fromkeys(name for row in plan["runs"] for name in row["stages"]))
    table = Table("point", "seed", *stages, "time", "memory", "cost", box=None, pad_edge=False)
    for row in plan["runs"]:
        times = [_time(row["stages"].get(name)) for name in stages]
        memory = f"~{row['memory_gb']} GB" if row["memory_gb"] else "unknown"
        cells = [row["point"], str(row["seed"]), *times, _time(row["seconds"]), memory, dollars(row["cost_usd"])]
        table.add_row(*cells)
    about = f"  sweep of {plan['recipe']}, {len(plan['runs'])} runs"
    console.print(Text.assemble((plan["sweep"], "bold"), about))
    console.print(table)
    for row in plan["runs"]:
        if row["fault"]:
            console.print(Text(f"{row['point']}, seed {row['seed']}: {row['fault']}", style="red"))
    total = f"total: {_time(plan['seconds'])}, cost {dollars(plan['cost_usd'])}"
    console.print(f"{total}   (~ marks an estimate; the base is counted once)")


def _time(seconds: float | None) -> str:
    return "done" if seconds == 0 else roughly(seconds)
