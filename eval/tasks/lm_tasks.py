"""Tasks: what their YAML says, how many items they have, and the items with the prompts that a model will read."""

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

import yaml

from cft.errors import EvalError
from cft.files import content_id, sha256_file
from cft.foreign import check_shape, read_text, user_path
from cft.models.generate import Completion
from cft.recipe.blocks import EvalBlock, Recipe, named_files
from cft.recipe.blocks.base import Count
from cft.suggest import did_you_mean
from eval.grading import Grade, grade, is_cut_off
from eval.prompts import PROMPTS, is_chat
from eval.tasks.item_files import local_file, read_file
from eval.tasks.source import HUB_ID, read_source
from eval.tasks.tools.environment import Environment, sources, with_tools

if TYPE_CHECKING:
    import lm_eval.api.task
    from lm_eval.tasks import TaskManager

TASKS_FOLDER = Path(__file__).parent
METADATA = ("size", "answer_tokens", "prompt_tokens", "samples")  # what a plan reads of a task's metadata
SETTINGS = {"metadata": NotRequired[dict | None], "dataset_kwargs": NotRequired[dict | None]}
FORMATS = ("arrow", "csv", "json", "parquet", "text")  # dataset_path of local files, for the library
PROMPT_TOKENS = 110  # of a question
ANSWER_TOKENS = 540  # of a task that does not say it: MATH-500, as Qwen2.5-Coder-0.5B answers with at most 768


@dataclass
class Items:
    """The items of one task with one prompt, in doc order."""

    manager: "TaskManager"
    task: "lm_eval.api.task.Task"
    docs: list[dict[str, Any]]  # question, and subject and level where the source has them
    golds: list[str]
    prompts: list[str]
    chat: bool  # whether a chat template wrote the prompts
    stop_strings: tuple[str, ...]
    messages: list[list[dict[str, str]]]  # that a chat prompt was made of; empty where it is none
    environment: Environment | None = None  # of a task with tools

    def row(self, doc_id: int) -> dict[str, Any]:
        """The row of a task with tools."""
        return json.loads(self.docs[doc_id]["row"])

    def score(self, doc_id: int, completion: Completion) -> Grade:
        """The grade of an answer. One that hit the limit behind a complete box is graded by that box."""
        if self.environment:
            return self.environment.grade(self.row(doc_id), completion.trajectory)
        cut = is_cut_off(completion.text, completion.finish_reason)
        return grade(self.golds[doc_id], completion.text, truncated=cut)


@dataclass(frozen=True)
class Task:
    """A task by its YAML. Nothing is loaded before its items are needed."""

    name: str
    file: Path
    settings: dict[str, Any]  # what the YAML and its includes say
    data: dict[str, str]  # task -> local file of its items, `data_dir` -> folder of such files

    @cached_property
    def size(self) -> int | None:
        """Items that it has: the rows of a local file, else what its YAML says; None where neither is there."""
        items = (self.settings.get("dataset_kwargs") or {}).get("items")
        if items and (path := local_file(read_source(items), self.data)):
            return len(read_file(path))
        return self._metadata.get("size")

    def count(self, limit: int | None) -> int:
        """The items that are scored, of at most `limit`.

        Raises:
            EvalError: there is no limit, and the size is not known.
        """
        if self.size is None and limit is None:
            how = f"Write `metadata: {{size: N}}` in {self.file}, or set a limit."
            raise EvalError(f"{self.name}: it is not known how many items it has. {how}")
        return min(limit or self.size, self.size or limit)

    @property
    def answer_tokens(self) -> int:
        """Tokens of an answer, as a 0.5B model writes them."""
        return self._metadata.get("answer_tokens", ANSWER_TOKENS)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that are read for an answer: of a task with tools in all turns, as a 0.5B model plays it."""
        return self._metadata.get("prompt_tokens", PROMPT_TOKENS)

    @cached_property
    def environment(self) -> Environment | None:
        """What a task with tools is played in; None for any other.

        Raises:
            EvalError: it cannot be loaded.
        """
        if not (tools := (self.settings.get("dataset_kwargs") or {}).get("tools")):
            return None
        sys.path.extend({str(self.file.parent)} - {*sys.path})  # code may lie beside the YAML
        return Environment.of(tools, str(self.file))

    @cached_property
    def sources(self) -> list[Path]:
        """The files of code that a task with tools names; EvalError as in `environment`."""
        return sources(self.settings["dataset_kwargs"]["tools"], self.file) if self.environment else []

    @property
    def code(self) -> str | None:
        """A hash of `sources`; None where there are none."""
        return content_id(*map(sha256_file, self.sources)) if self.sources else None

    @property
    def samples(self) -> int | None:
        """Answers an item that its `sampled` variant asks for in plain lm_eval; None: it has no such variant."""
        return self._metadata.get("samples")

    @property
    def _metadata(self) -> dict[str, Any]:
        return self.settings.get("metadata") or {}

    def variant(self, prompt: str | None) -> dict[str, Any]:
        """The YAML of the task with a prompt laid over it: what plain lm_eval reads, named TASK_PROMPT."""
        if prompt is None:
            return {"task": self.name, "include": str(self.file)}
        includes = [str(self.file), str(PROMPTS[prompt].overlay)]
        repeats = {"repeats": self.samples} if PROMPTS[prompt].sampled and self.samples else {}
        return {"task": f"{self.name}_{prompt}", "include": includes, **repeats}

    def load(self, prompt: str | None = None) -> "tuple[TaskManager, lm_eval.api.task.Task]":
        """lm-eval's task with this prompt, and the manager that made it.

        Raises:
            EvalError: the items cannot be loaded, or cannot be used.
        """
        place = self.settings.get("dataset_path")
        if isinstance(place, str) and re.fullmatch(HUB_ID, place) and place not in FORMATS and Path(place).is_dir():
            raise EvalError(
                f"{self.file}: dataset_path {place} is an id on the hub, but the folder of that name here would be "
                f"read. Write ./{place} if that is meant; else go to another folder."
            )
        with quiet(), tempfile.TemporaryDirectory() as folder:
            from lm_eval.tasks import TaskManager

            manager = TaskManager(include_defaults=False, metadata=dict(self.data))
            file = self.file
            if prompt:
                file = Path(folder) / "variant.yaml"
                file.write_text(yaml.safe_dump(self.variant(prompt)), encoding="utf-8")
            (task,) = manager.load([str(file)])["tasks"].values()
        task.config.metadata["config_source"] = str(self.file)
        return manager, task

    def items(self, prompt: str | None, render: Callable[[list[dict]], str], limit: int | None) -> Items:
        """The first `limit` items, with the prompts that the model will read: those of plain lm_eval.

        Args:
            prompt: of `eval.prompts`; None for the task's own.
            render: messages -> prompt, for prompts that are a chat.

        Raises:
            EvalError: the items cannot be loaded, or cannot be used.
        """
        manager, task = self.load(prompt)
        chat, asked = is_chat(prompt), {}

        def chat_template(messages: list[dict], **_: Any) -> str:
            text = with_tools(render, self.environment)(messages)
            asked[text] = messages
            return text

        with quiet():
            docs = list(task.eval_docs)[:limit]
            task.build_all_requests(
                limit=len(docs),
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
                chat_template=chat_template,
                tokenizer_name="",
            )
        prompts = [instance.args[0] for instance in task.instances]
        return Items(
            manager=manager,
            task=task,
            docs=docs,
            golds=[task.doc_to_target(doc) for doc in docs],
            prompts=prompts,
            chat=chat,
            stop_strings=tuple(task.config.generation_kwargs.get("until") or ()),
            messages=[asked.get(text, []) for text in prompts],
            environment=self.environment,
        )


def find_task(name: str, scored: EvalBlock, *, key: str = "eval.tasks", file: str | None = None) -> Task:
    """The task of this name in eval/tasks or in `eval.task_dir`.

    Args:
        key: of the recipe, that names the task, for the message.
        file: local file of its items, in place of the one in `eval.data`.

    Raises:
        EvalError: there is no such task; the message has the nearest one.
    """
    known = known_tasks(scored.task_dir)
    if name not in known:
        task, _, prompt = name.rpartition("_")
        if task in known and prompt in PROMPTS:
            fix = "set eval.samples" if PROMPTS[prompt].sampled else f"name the arm base@{prompt}"
            raise EvalError(f"{key}: {name!r} is {task!r} with other settings. Set it to {task}, and {fix}.")
        raise EvalError(f"{key}: unknown task {name!r}. {did_you_mean(name, known)}. Known: {', '.join(known)}.")
    data = scored.data | ({"data_dir": scored.data_dir} if scored.data_dir else {}) | ({name: file} if file else {})
    task = Task(name, *known[name], data)
    if task.environment:
        _refuse_with_tools(name, scored, key)
    return task


def _refuse_with_tools(name: str, scored: EvalBlock, key: str) -> None:
    """Raise EvalError for what a task with tools is not offered for."""
    if key != "eval.tasks":
        raise EvalError(f"{key}: {name} is a task with tools, which is scored after training only. Name another task.")
    if prompted := [arm.name for arm in scored.arms if arm.prompt]:
        fix = f"Remove {', '.join(prompted)}, or score {name} with a recipe of its own."
        raise EvalError(f"eval.arms: {name} is a task with tools, which has one prompt, its own. {fix}")
    if scored.endpoint:
        raise EvalError(f"eval.endpoint: {name} is a task with tools, which are run here. Leave eval.endpoint out.")


def known_tasks(folder: str | None = None) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Name -> file and settings of every task in eval/tasks and in a folder of the user's own.

    Raises:
        EvalError: that is no folder, a YAML file in it is damaged, or a name is there twice.
    """
    own = user_path(folder, EvalError) if folder else None
    if own and not own.is_dir():
        raise EvalError(f"{folder}: is no folder. Correct eval.task_dir, which names a folder of lm-eval tasks.")
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for place in filter(None, [TASKS_FOLDER, own]):
        for file in sorted(place.resolve().rglob("*.yaml")):
            settings = read_settings(file)
            if not isinstance(name := settings.get("task"), str):
                continue  # a group, or a part that others include
            try:
                check_shape(settings, SETTINGS)
                check_shape(settings.get("metadata") or {}, dict.fromkeys(METADATA, NotRequired[Count | None]))
            except ValueError as error:
                raise EvalError(f"{file}: {error}. Correct it.") from None
            if not re.fullmatch(r"\w[\w.+@=-]*", name):
                raise EvalError(f"{file}: task {name!r} becomes a folder's name. Use only letters, digits and _.+@=-")
            if name in found and found[name][0] != file:
                raise EvalError(f"{file}: {found[name][0]} has a task {name!r} already. Give this one another name.")
            found[name] = file, settings
    return found


class _Loader(yaml.SafeLoader):
    """Reads `!function NAME` as the name."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def task_files(recipe: Recipe) -> list[Path]:
    """The files that decide what the tasks of `eval.task_dir` ask: YAML, what it includes, Python and data it names.

    Raises:
        EvalError: as in `known_tasks`.
    """
    select = recipe.train.select
    known = known_tasks(recipe.eval.task_dir)
    folder = Path(recipe.eval.task_dir).resolve()
    found: set[Path] = set()
    for name in [*recipe.eval.tasks, *([select.task] if select else [])]:
        if name not in known or not known[name][0].is_relative_to(folder):
            continue
        read: list[Path] = []
        settings = read_settings(known[name][0], read)
        for file in read:
            functions = re.findall(r"!function\s+([\w.]+)\.\w+", read_text(file, EvalError))
            found |= {file, *((file.parent / module.replace(".", "/")).with_suffix(".py") for module in functions)}
        found |= {path for path in Task(name, *known[name], {}).sources if path.is_relative_to(folder)}
        places = {key: settings.get(key) for key in ("dataset_path", "dataset_kwargs")}
        for path in (Path(text) for _, _, text in named_files(places, "data") if re.search(r"[./\\]", text)):
            found |= {path, *(path.rglob("*") if os.path.isdir(path) else ())}
    return sorted(path for path in found if os.path.isfile(path))


def read_settings(file: Path, read: list[Path] | None = None, depth: int = 0) -> dict[str, Any]:
    """A task's YAML with its includes, merged as lm-eval does: whole keys, the later file's in place of the earlier's.

    Args:
        read: gets the files that were read.

    Raises:
        EvalError: a file is missing or is no mapping in YAML.
    """
    text = read_text(file, EvalError)
    try:
        settings = yaml.load(text, Loader=_Loader)
        if read is not None:
            read.append(file)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        # PyYAML raises these of its own for dates, numbers and keys that are none
        raise EvalError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())[:300]}). Correct it.") from None
    if not isinstance(settings, dict):
        raise EvalError(f"{file}: is no mapping. Write keys of an lm-eval task, the first of them `task: NAME`.")
    includes = settings.pop("include", [])
    names = [includes] if isinstance(includes, str) else includes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or depth > 8:
        raise EvalError(f"{file}: include is {includes!r:.60}. Name files that include each other at most 8 deep.")
    merged: dict[str, Any] = {}
    for name in names:
        merged |= read_settings(file.parent / name, read, depth + 1)
    return merged | settings


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's log lines and progress bars, and what the libraries below it write, off the terminal."""
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
