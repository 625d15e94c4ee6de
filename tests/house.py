"""The structure of the code: import circles, imports that go up, long files, full folders. `python -m tests.house`.

Every import counts, those inside functions and those for type checkers too. Exits 1 on a circle, an upward import, or a
file of tests that imports from another: what they share is in tests/support and conftest.py.
"""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES, MOST_FILES = 350, 17
OTHER_DOORS = {f"rich.{name}" for name in ("text.Text", "panel.Panel", "progress.TextColumn", "print", "markup.escape")}
OTHER_CALLS = {"Console", "print", "print_json", "from_markup", "echo", "secho"}

# The floors, lowest first. A module belongs to the longest of these names that begins its own; it imports from its own
# floor and from those below.
FLOORS = """
cft.errors
cft.suggest cft.words
cft.foreign cft.sandbox cft.terminal
cft.files
cft.cache
eval.grading
cft.devices cft.gpus cft.memory cft.recipe cft.train.rollouts.batches eval.prompts eval.elicitors.table
eval.tasks.source eval.tasks.item_files
cft.models
cft.runs
data_builders
eval.statistics
eval.tasks
cft.rows
cft.weights
eval.elicitors
eval.answering
eval.collecting
cft.train.loop
cft.train.rollouts
cft.train
eval.baselines
eval.report
eval.compare
cft.export
cft.pipeline
cft.pack cft.plan
cft.sweep_run
cft.cli
"""


def modules() -> dict[str, Path]:
    """Every module of the three packages, by its dotted name."""
    found = {}
    for top in ("cft", "data_builders", "eval"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of this project that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{name.name}" for name in node.names}
            found |= whole & known.keys() or {node.module}
    return {name for name in found if name in known and known[name] != path}


def imports_between_tests() -> list[str]:
    """The imports of files of tests from each other, those of programs in their texts too."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        names = re.findall(r"\bfrom (tests\.[\w.]*test_\w+) import", path.read_text(encoding="utf-8"))
        found += [
            f"test: {path.relative_to(ROOT)} imports {name}; move what they share to tests/support" for name in names
        ]
    return found


def other_doors() -> list[str]:
    """The places that print past `cft.terminal`, which shows foreign text as it is: markup, bare consoles, `print`."""
    found = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if name != "cft.terminal" else ():
            wrong = []
            if isinstance(node, ast.ImportFrom):
                wrong = [one.name for one in node.names if f"{node.module}.{one.name}" in OTHER_DOORS]
            elif isinstance(node, ast.Call):
                wrong = [called for called in [ast.unparse(node.func)] if called.rpartition(".")[2] in OTHER_CALLS]
                if any(key.arg == "file" for key in node.keywords) or re.search(r"\.print$", ast.unparse(node.func)):
                    wrong = []
                wrong += [f"{key.arg}=" for key in node.keywords if key.arg in ("markup", "emoji")]
            found += [f"print: {path.relative_to(ROOT)}:{node.lineno} has {one}; use cft.terminal" for one in wrong]
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other (strongly connected components; Tarjan 1972)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def floor_of(module: str, floors: dict[str, int]) -> int:
    """The number of the floor that a module stands on; the top for what has none, which is an error to be seen."""
    fitting = [name for name in floors if module == name or module.startswith(f"{name}.")]
    return floors[max(fitting, key=len)] if fitting else -1


def main() -> int:
    console, known = Console(width=120), modules()
    graph = {name: imports(path, known) for name, path in known.items() if name.count(".")}
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    floors = {name: i for i, line in enumerate(FLOORS.split("\n")) for name in line.split()}
    faults = [f"circle: {' <-> '.join(group)}" for group in circles(graph)]
    for name, others in sorted(graph.items()):
        here = floor_of(name, floors)
        faults += [f"upward: {name} imports {other}" for other in sorted(others) if floor_of(other, floors) > here]
        faults += [f"no floor: {name}; give it one in tests/house.py"] * (here < 0)
    faults += imports_between_tests() + other_doors()

    lines, files = Counter(), Counter()
    for top in ("cft", "data_builders", "eval", "benchmarks", "recipes", "tests"):
        for path in sorted((ROOT / top).rglob("*.py")):
            count, folder = len(path.read_text(encoding="utf-8").splitlines()), path.parent.relative_to(ROOT).as_posix()
            lines[folder], files[folder] = lines[folder] + count, files[folder] + (path.name != "__init__.py")
            if count > MOST_LINES:
                console.print(f"long: {path.relative_to(ROOT)} has {count} lines, of at most {MOST_LINES}")
    table = Table("folder", "files", "lines", box=None, pad_edge=False)
    for folder in sorted(lines):
        table.add_row(folder, str(files[folder]), f"{lines[folder]:,}")
        if files[folder] > MOST_FILES:
            console.print(f"full: {folder} has {files[folder]} files, of at most {MOST_FILES}")
    console.print(table)
    tests = sum(count for folder, count in lines.items() if folder.startswith("tests"))
    console.print(f"{sum(lines.values()) - tests:,} lines that run, {tests:,} of tests; {len(faults)} faults")
    for fault in faults:
        console.print(fault, style="red", highlight=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
