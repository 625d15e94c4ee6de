"""Our lm-eval tasks, and their items with the prompts that a model will read."""

import contextlib
import difflib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import EvalError
from cft.recipe.blocks import PROMPTS

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

VARIANTS = (*PROMPTS, "sampled")  # tasks over the same items: cft_aime24_sampled
TASKS_FOLDER = Path(__file__).parent


@dataclass
class Items:
    """The items of one task with one prompt, in doc order."""

    manager: "TaskManager"
    task: "Task"
    docs: list[dict[str, Any]]  # question, and subject and level where the source has them
    golds: list[str]
    prompts: list[str]
    chat: bool  # whether a chat template wrote the prompts
    stop_strings: tuple[str, ...]


def task_manager(names: Sequence[str], metadata: dict[str, str]) -> "TaskManager":
    """lm-eval's manager of our tasks.

    Args:
        metadata: task -> local JSONL file, for the tasks that can read one; `data_dir` -> a folder for all.

    Raises:
        EvalError: a name is unknown; the message has the nearest known ones.
    """
    with quiet():
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False, metadata=dict(metadata))
    variants = tuple(f"_{variant}" for variant in VARIANTS)
    known = [name for name in manager.all_tasks if not name.endswith(variants)]
    for name in [*names, *(name for name in metadata if name != "data_dir")]:
        if name not in known:
            task, _, variant = name.rpartition("_")
            if name in manager.all_tasks:
                mend = "set eval.samples" if variant == "sampled" else f"name the arm base@{variant}"
                raise EvalError(f"{name!r} is {task!r} with other settings: set eval.tasks to [{task}] and {mend}.")
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.5) or known
            raise EvalError(f"Unknown task {name!r} in the recipe's eval block. Did you mean {' or '.join(near)}?")
    return manager


def load_items(
    manager: "TaskManager", name: str, render: Callable[[list[dict]], str], chat: bool, limit: int | None
) -> Items:
    """The first `limit` items of a task, with the prompts that the model will read: those of plain lm_eval.

    Args:
        render: messages -> prompt; used if `chat`.

    Raises:
        EvalError: the items cannot be loaded, or cannot be used.
    """
    with quiet():
        task = manager.load([name])["tasks"][name]
        docs = list(task.eval_docs)[:limit]
        task.build_all_requests(
            limit=len(docs), apply_chat_template=chat, fewshot_as_multiturn=chat,
            chat_template=lambda messages, **_: render(messages), tokenizer_name="",
        )  # fmt: skip
    return Items(
        manager=manager,
        task=task,
        docs=docs,
        golds=[task.doc_to_target(doc) for doc in docs],
        prompts=[instance.args[0] for instance in task.instances],
        chat=chat,
        stop_strings=tuple(task.config.generation_kwargs.get("until") or ()),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's log lines and progress bars, and the words of the `git` it starts, off the terminal."""
    logger = logging.getLogger("lm_eval")
    level, terminal = logger.level, os.dup(2)
    logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        logger.setLevel(level)
