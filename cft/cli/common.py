"""What the commands share: options, and how an answer is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cft.terminal import Terminal, json_line

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock, Recipe, StudentBlock

out = Terminal()
progress = Terminal(stderr=True)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a path to a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides, e.g. train.args.learning_rate=1e-4")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a recipe for its newest run.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of local files of items, e.g. math500.jsonl; same as eval.data_dir."),
]
RUNS = Path("runs")
Tracker = Annotated[
    str, typer.Option("--tracker", help="Report training to tensorboard, trackio or wandb; nothing is sent without it.")
]
LaunchName = Annotated[
    str | None,
    typer.Option("--launch", help="Train in several processes: ddp, fsdp2, zero3, or a file of accelerate's."),
]
Processes = Annotated[
    int | None, typer.Option("--processes", min=1, max=1024, help="How many --launch starts; by default one a GPU.")
]
BaseUrl = Annotated[str | None, typer.Option(help="OpenAI-compatible server. Default: loaded here.")]
ApiKeyEnv = Annotated[str | None, typer.Option(help="Environment variable with the server's API key.")]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, help="USD that all answers of models may cost, those kept from before included."),
]


def answer(value: Any, as_json: bool, text: str | Callable[[Any, Terminal], None] | None = None) -> None:
    """Print `value` as one line of JSON, or for people: `text`, or what `text` prints of it, or the value itself."""
    if as_json:
        out.file.write(json_line(value, out.encoding))
    elif callable(text):
        text(value, out)
    elif text is not None:
        out.print(text, soft_wrap=True)
    else:
        out.print(json.dumps(value, indent=2, ensure_ascii=False), soft_wrap=True)


def answer_files(files: dict[str, Path], as_json: bool, more: str = "") -> None:
    """List files by name, with the first line of the comment at their head."""
    from cft.recipe.shipped import about

    rows = [{"name": name, "about": about(path), "path": str(path)} for name, path in files.items()]
    width = max(map(len, files))
    answer(rows, as_json, "\n".join(f"{row['name']:<{width}}  {row['about']}" for row in rows) + more)


def sent_text(sent: dict[str, Any], repository: str, *, public: bool, really: bool) -> str:
    """What was sent to a repository on the hub, or would be."""
    who = "public" if public else "private"
    head = f"sent to {sent['url']}" if really else f"would be sent to {repository} ({who}); add --yes to do it"
    return "\n".join([head, *(f"  {name}  {size:,} bytes" for name, size in sent["files"].items())])


def checked_recipe(recipe: str, overrides: list[str] | None, data: Path | None = None) -> "Recipe":
    """The recipe with its overrides and --data, checked against the libraries too. Raises RecipeError."""
    from cft.recipe.load import load_recipe

    given = [f"eval.data_dir={json.dumps(str(data))}"] if data else []
    return load_recipe(recipe, [*(overrides or []), *given], libraries=True)


def students_of(
    command: str, models: list[str], base_url: str | None, api_key_env: str | None, **settings: Any
) -> "tuple[ModelBlock, list[StudentBlock]]":
    """The first model, and all of them as students with `settings`. Raises RecipeError for values that cannot be."""
    from pydantic import ValidationError

    from cft.recipe.blocks import EndpointBlock, ModelBlock, StudentBlock
    from cft.recipe.faults import Schema, recipe_error

    try:
        endpoint = EndpointBlock(base_url=base_url, api_key_env=api_key_env) if base_url else None
        return ModelBlock(id=models[0]), [StudentBlock(model=m, endpoint=endpoint, **settings) for m in models]
    except ValidationError as error:
        block = {block.__name__: block for block in (EndpointBlock, StudentBlock, ModelBlock)}[error.title]
        raise recipe_error(command, Schema(block, {}).faults(error)) from None


def run_and_answer(recipe, runs: Path, as_json: bool, *stages: str, **options: Any) -> None:
    """Bring the named stages, or all, to their end, with `options` of `run_stages`; say where the results are."""
    from cft.pipeline import run_stages
    from cft.runs import REPORT_JSON, REPORT_TEXT, STAGES

    done = run_stages(recipe, runs, progress, stages or STAGES, **options)
    result, text = {"run": str(done.path), "stages": list(stages or STAGES)}, f"run folder: {done.path}"
    if (done.report / REPORT_JSON).exists():
        result["report"] = str(done.report / REPORT_TEXT)
        text += f"\nreport: {result['report']}"
    answer(result, as_json, text)
