"""The builder `trajectories`: conversations with tool calls from files -> rows of `messages` and `tools`.

Every record becomes a row or is refused, what is left out or moved in one has a name, and secrets are masked before
anything of a row is written or shown. `Report` counts it all.
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cft.cache import remembered
from cft.errors import DataError
from cft.files import content_id, listed, sha256_file, write_jsonl, write_text
from cft.foreign import user_path
from cft.recipe.shipped import by_stem, find_file, recipes_folder
from cft.runs import CARD, EXAMPLES
from data_builders.inspect.card import table
from data_builders.trajectories.calls import RecordError
from data_builders.trajectories.read import REPORTED, Report, conversations
from data_builders.trajectories.repair import finished
from data_builders.trajectories.secrets import mask

if TYPE_CHECKING:
    from cft.recipe.blocks import TrajectoriesData

_HEAD = """\
---
configs:
  - config_name: default
    data_files: examples.jsonl
---
# {title}

A row of `examples.jsonl` is a conversation with tool calls: `messages` and `tools`, in OpenAI's form.
"""


def find_trajectories(name_or_path: str) -> Path:
    """The file of a shipped name, or a file or folder by its path. A DataError says the nearest name."""
    path = user_path(name_or_path)
    shipped = by_stem(recipes_folder() / "trajectories", ".jsonl")
    return path if path.is_dir() else find_file(name_or_path, shipped, "set of trajectories", suffix=".jsonl")


def trajectory_files(path: Path) -> list[Path]:
    """The file, or the JSON and JSONL files below the folder. A DataError if it has none."""
    below = (one for one in path.rglob("*") if one.suffix in (".jsonl", ".json") and one.is_file())
    files = sorted(below) if path.is_dir() else [path]
    if not files:
        raise DataError(f"data.path {path}: has no .jsonl or .json file in it. Name another folder, or a file.")
    return files


def build_trajectories(data: "TrajectoriesData", folder: Path, seed: int, title: str) -> dict:
    """Fill `folder` with the examples and a data card, and return the counts.

    Returns:
        `Report.summary`, "over_max_examples" and "examples"

    Raises:
        DataError: the path cannot be read, or no row is left.
    """
    report = Report()
    found: Iterable[dict] = rows(data, report)
    if data.max_examples:  # by hash: spread over the files, and no more in memory than these
        keyed = ((content_id(seed, row["id"]), number, row) for number, row in enumerate(found))
        drawn = heapq.nsmallest(data.max_examples, keyed, key=lambda one: one[0])
        found = [row for _, _, row in sorted(drawn, key=lambda one: one[1])]
    write_jsonl(folder / EXAMPLES, found)
    number = report.counts["read"]["rows"]
    counts = report.summary()
    if not number:
        (folder / EXAMPLES).unlink()
        why = [f"{reason}: {n} ({counts['where'][reason]})" for reason, n in counts.get("refused", {}).items()]
        raise DataError(
            f"data.path {data.path}: no row is left. Correct the records, or see data.missing_tools, data.misfits and "
            f"data.format. Refused:\n  {listed(why) or 'nothing, there are no records'}"
        )
    kept = min(number, data.max_examples or number)
    counts |= {"over_max_examples": number - kept, "examples": kept}
    told = [(kind, what, n) for kind in REPORTED for what, n in counts.get(kind, {}).items()]
    told = [(*one, counts["where"].get(one[1], "")) for one in told]
    lines = [_HEAD.format(title=title), *table(("", "what", "number", "first places"), told)]
    write_text(folder / CARD, "\n".join(lines))
    return counts


def planned_rows(data: "TrajectoriesData") -> list[int]:
    """Characters of each row that the files make; for estimates, which ask several times."""
    parts = (json.dumps([row["messages"], row["tools"]], ensure_ascii=False) for row in rows(data, Report()))
    files = [*Path(__file__).parent.glob("*.py"), *trajectory_files(find_trajectories(data.path))]
    asked = [data.model_dump(), *sorted(map(sha256_file, files))]
    return remembered("trajectories", asked, lambda: list(map(len, parts)))


def rows(data: "TrajectoriesData", report: Report) -> Iterator[dict]:
    """The rows of the files, in their order: {"id", "messages", "tools"}, and other keys of the record; masked.

    Raises:
        DataError: there is no such file, or none in the folder.
    """
    path, seen = find_trajectories(data.path), set()
    how = {"infer": data.missing_tools == "infer", "strict": data.misfits == "refuse"}
    for file in trajectory_files(path):
        report.counts["read"]["files"] += 1
        name = file.name if file == path else file.relative_to(path).as_posix()
        for place, row, notes in conversations(file, name, data.format, report):
            try:
                if row.get("outcome", "correct") != "correct":
                    raise RecordError("its outcome is not correct")
                row |= finished(row["messages"], row["tools"], notes, **how)
                row, secrets = mask(row)
                key = content_id(row["messages"], row["tools"])
                if key in seen:
                    raise RecordError("the same row again")
            except RecordError as fault:
                report.add("refused", str(fault), place)
                continue
            own = row.pop("id", None)
            own = str(own) if isinstance(own, str | int) else ""
            notes += ["an id that came before replaced"] if own in seen else []
            own = own if own and own not in seen else key
            seen |= {key, own}
            for note in dict.fromkeys(notes):
                report.add("repaired", note, place)
            for kind, number in Counter(secrets).items():
                report.add("masked", kind, place, number)
            report.counts["read"]["rows"] += 1
            yield {"id": own, **row}
