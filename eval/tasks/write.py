"""`python -m eval.tasks.write DIR`: every task with every prompt as a YAML file, for `lm_eval --include_path DIR`."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from eval.prompts import PROMPTS
from eval.tasks.lm_tasks import Task, known_tasks


def write_tasks(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into.")],
    task_dir: Annotated[str | None, typer.Option(help="Folder of lm-eval tasks of your own.")] = None,
) -> None:
    """Write TASK.yaml and TASK_PROMPT.yaml for every task and prompt; they include the files of this installation."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (file, settings) in known_tasks(task_dir).items():
        task = Task(name, file, settings, {})
        for prompt in [None, *PROMPTS]:
            if prompt and (task.environment or (PROMPTS[prompt].sampled and not task.samples)):
                continue
            variant = task.variant(prompt)
            text = yaml.safe_dump(variant, sort_keys=False)
            (folder / f"{variant['task']}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(write_tasks)
