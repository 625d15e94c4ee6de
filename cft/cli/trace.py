"""Walk back through a run: scored item -> adapter -> its data, or example -> critique -> candidate -> problem."""

import json

from cft.errors import DataError, RunError
from cft.files import dump_jsonl
from cft.runs import ANSWERS, CANDIDATES, CRITIQUES, EXAMPLES, Run, read_rows
from cft.terminal import Terminal, panel
from cft.words import number_of, shell_line
from data_builders.problems import load_problem

KINDS = {"example": EXAMPLES, "critique": CRITIQUES, "candidate": CANDIDATES}
PARENTS = {"example": ("critique", "candidate"), "critique": ("candidate",)}  # the first that a row names


def trace_item(run: Run, item: str | None) -> dict:
    """What made `item`, nearest first, as {"run", "item", "chain": [{"kind", ...fields}]}.

    Args:
        item: the first digits of an example, critique or candidate id; `TASK:DOC_ID` for a scored item; or None for
            {"run", "examples": [ids]}.

    Raises:
        RunError: if the item is not in this run, or its first digits fit several.
    """
    tables = {kind: {row["id"]: row for row in read_rows(run.data / file)} for kind, file in KINDS.items()}
    if item is None:
        return {"run": str(run.path), "examples": list(tables["example"])}
    if ":" in item:
        chain = _scored(run, item)
    else:
        everything = [(kind, row) for kind in KINDS for row in tables[kind].values()]
        starts = (item, item.rpartition("/")[0] or item)  # the second of a turn's row (`cft.rows.rows_of`)
        found = ([one for one in everything if one[1]["id"].startswith(start)] for start in starts)
        rows = next(filter(None, found), [])
        if len(rows) != 1:
            raise RunError(
                f"{item}: {len(rows) or 'no'} rows of {run.path} have an id that starts so. "
                f"`{shell_line('cft', 'trace', run.path)}` lists the examples; a scored item is TASK:DOC_ID."
            )
        [(kind, row)] = rows
        chain = [row | {"kind": kind}]
        while kind := next((parent for parent in PARENTS.get(kind, ()) if row.get(parent)), None):
            row = tables[kind][row[kind]]
            chain.append(row | {"kind": kind})
        origin = {"kind": "problem", **_problem(chain[-1]["problem"])} if chain[-1].get("problem") else {"kind": "data"}
        chain.append(origin | _manifest(run, "data"))
    return {"run": str(run.path), "item": item, "chain": chain}


def _scored(run: Run, item: str) -> list[dict]:
    task, _, doc_id = item.rpartition(":")
    rows = [
        {"kind": "answer", **row}
        for path in sorted((run.eval / task).glob(f"*/{ANSWERS}"))
        for row in read_rows(path)
        if str(row["doc_id"]) == doc_id
    ]
    if not rows:
        known = ", ".join(sorted(p.name for p in run.eval.glob("*") if p.is_dir())) or "none yet"
        raise RunError(f"{item}: not a scored item of {run.path}. Tasks scored there: {known}.")
    made_by = [{"kind": stage, **_manifest(run, stage)} for stage in ("eval", "train", "data")]
    return rows + [row for row in made_by if len(row) > 1]


def _problem(name: str) -> dict:
    """The problem's text as its file stands now (the manifest has its hash); one from a critiques file has none."""
    try:
        problem = load_problem(name)
    except DataError:
        return {"id": name}
    return {"id": name, "question": problem.question, "answer": problem.answer, "licence": problem.licence}


def _manifest(run: Run, stage: str) -> dict:
    manifest = run.manifest(stage) or {}
    return {key: manifest[key] for key in ("inputs", "counts", "versions", "git_commit", "seconds") if key in manifest}


def print_trace(trace: dict, console: Terminal) -> None:
    """Print a chain as one panel a link, long texts whole."""
    if "examples" in trace:
        console.print(f"{number_of(len(trace['examples']), 'example')} in {trace['run']}:")
        console.print(" ".join(trace["examples"]))
        return
    for link in trace["chain"]:
        lines = []
        for key, value in link.items():
            if key in ("prompt", "completion"):
                value = "\n".join(message["content"] for message in value)
            elif key == "messages":
                value = "\n".join(f"{m['role']}: {m['content']} {dump_jsonl(m.get('tool_calls') or [])}" for m in value)
            elif isinstance(value, dict | list):
                value = json.dumps(value, ensure_ascii=False, indent=1)
            if value is not None and key not in ("kind", "versions"):
                lines.append(f"{key}:\n{value}\n" if "\n" in str(value) else f"{key}: {value}")
        console.print(panel(link["kind"], "\n".join(lines)))
