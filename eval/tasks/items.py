r"""Items of a benchmark: read from the hub, from a pinned address or from a local file, and brought into one form.

The task's YAML says where they are and what their keys are called, under `dataset_kwargs: items:` (`Source`), so a
benchmark of your own needs a YAML file and no code. A local file goes before the pinned source:

- `--metadata '{"cft_aime24": "FILE"}'` with plain `lm_eval`, `eval.data.cft_aime24=FILE` in a recipe;
- `--metadata '{"data_dir": "DIR"}'`, `eval.data_dir=DIR`: a folder that has something for each benchmark,
  `DIR/aime24.jsonl` or `DIR/aime24/test.jsonl`, as the hub and the Qwen2.5-Math harness lay them out.

lm-eval hands the metadata, the model arguments and `dataset_kwargs` to `load` as keywords.
"""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cft.errors import EvalError
from data_builders.golds import read_gold, read_text
from eval.grading import last_box
from eval.tasks.item_files import Row, read_rows
from eval.tasks.source import Source, read_source

if TYPE_CHECKING:
    from datasets import Dataset


def load(items: dict[str, Any], **metadata: Any) -> "dict[str, Dataset]":
    """What a task's YAML calls: `{"test": items}`, each item `{question, answer}`, and subject and level where known.

    Args:
        items: the fields of a `Source`.
        metadata: a local file under the task's name, or a folder under `data_dir`; all else is ignored.

    Raises:
        EvalError: the source cannot be had, or rows of it cannot be used.
    """
    from datasets import Dataset

    source = read_source(items)
    place, rows = read_rows(source, metadata)
    return {"test": Dataset.from_list(normalised(source, place, rows))}


def normalised(source: Source, place: str, rows: Sequence[Row]) -> list[dict[str, str | None]]:
    """The rows in the form that prompts and scores read.

    Args:
        place: where the rows come from, for the message.

    Raises:
        EvalError: listing every row (the first ten in words) that cannot be used.
    """
    faults: list[str] = []
    found: list[dict[str, str | None]] = []
    seen: dict[str, str] = {}
    extra = [(name, key) for name, key in (("subject", source.subject), ("level", source.level)) if key]
    extra = [(name, key) for name, key in extra if any(row.get(key) is not None for _, row in rows)]
    for where, row in rows:
        try:
            item = {"question": _question(source, row), "answer": _gold(source, row)}
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        if (first := seen.setdefault(json.dumps(row, sort_keys=True, default=str), where)) != where:
            faults.append(f"{where}: repeats {first}; remove one of them")
        found.append(item | {name: None if row.get(key) is None else str(row[key]) for name, key in extra})
    if faults:
        more = f"\n  ... and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise EvalError(
            f"{source.task}: {place} has {len(faults)} faulty line(s). Each must be a JSON object with "
            f"{source.question[0]} and {source.answer[0]}.\n  " + "\n  ".join(faults[:10]) + more
        )
    return found


def _question(source: Source, row: dict[str, Any]) -> str:
    keys = [next((key for key in wanted if key in row), None) for wanted in (source.question, source.answer)]
    if None in keys:
        lacks = [wanted[0] for wanted, key in zip((source.question, source.answer), keys, strict=True) if key is None]
        raise ValueError(f"lacks {' and '.join(lacks)}; its keys are {', '.join(row)[:300] or 'none'}")
    return _named(keys[0], read_text, row[keys[0]])


def _gold(source: Source, row: dict[str, Any]) -> str:
    """The answer of a row: of a solution its last box."""
    key = next(key for key in source.answer if key in row)
    value = row[key]
    if key == "solution":
        value = [last_box(_named(key, read_text, text)) for text in (value if isinstance(value, list) else [value])]
        if not value or not all(value):
            raise ValueError("solution has no answer in \\boxed{}, and there is no answer beside it")
    if source.after:
        for text in value if isinstance(value, list) else [value]:
            if not str(text).rpartition(source.after)[1]:
                raise ValueError(f"{key} has no {source.after!r} before the final number")
    return _named(key, read_gold, value, source.after or "####")


def _named(key: str, read: Callable[..., str], *given: Any) -> str:
    try:
        return read(*given)
    except ValueError as fault:
        raise ValueError(f"{key} {fault}") from None
