"""`cft export`: hand a run's result over to transformers, vLLM, llama.cpp, Ollama or a hub."""

from pathlib import Path
from typing import Annotated

import typer

from cft.cli.common import RUNS, AsJson, RunName, Runs, answer, progress, sent_text
from cft.words import shell_line

export_app = typer.Typer()


@export_app.command()
def export(
    run_name: RunName,
    runs: Runs = RUNS,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="merged (the default), gguf, ollama or adapter; again for more.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the exports, each in its own; by default RUN/export.")
    ] = None,
    step: Annotated[int | None, typer.Option(min=1, help="The adapter after N steps, of train.keep_steps.")] = None,
    outtype: Annotated[str, typer.Option(help="Weights of the GGUF: bf16, f16, f32 or q8_0.")] = "bf16",
    llama_cpp: Annotated[
        Path | None, typer.Option("--llama-cpp", help="Checkout of llama.cpp; by default $LLAMA_CPP or PATH.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Send the export to this model repository.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public/--private", help="Who may read a repository that this makes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Push; without this, only say what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the trained model as other programs take it, check it against the adapter, and push it to a hub.

    What is there already is not made again, and what other programs wrote is never replaced.
    """
    from cft.errors import RunError
    from cft.export.push import check_repository, push_export
    from cft.runs import find_run

    targets = to or ["merged"]
    if push:
        check_repository(push)
        if len(targets) > 1 or targets == ["ollama"]:
            raise RunError(
                f"--push sends one export: give one of --to adapter, merged or gguf, not {', '.join(targets)}."
            )

    from cft.export.export import export as make
    from cft.export.trained import open_trained

    run = find_run(run_name, runs)
    with run.lock():
        trained = open_trained(run, step)
        done = make(trained, targets, out_folder, progress, outtype=outtype, llama_cpp=llama_cpp)
    result = {"run": str(run.path), "exports": done}
    lines = [line for kind, one in done.items() for line in describe(kind, one)]
    if push:
        [kind] = targets
        sent = result["push"] = push_export(Path(done[kind]["path"]), push, run, private=not public, really=yes)
        lines.append(sent_text(sent, push, public=public, really=yes))
    answer(result, as_json, "\n".join(lines))


def describe(kind: str, one: dict) -> list[str]:
    """Lines for people on one export: where it is, and how to use it."""
    size = f", {one['bytes'] / 1e6:,.0f} MB" if "bytes" in one else ""
    lines = [f"{kind}: {one['path']}{size}{'' if one['made'] else ' (made before)'}"]
    if kind == "merged":
        lines.append("  " + shell_line("vllm", "serve", one["path"]))
    if kind == "gguf":
        lines.append("  " + shell_line("llama-server", "-m", Path(one["path"]) / one["file"]))
    if kind == "ollama":
        lines.append(f"  {one['command']}")
    if kind == "adapter" and one["vllm"]["faults"]:
        lines.append("  vLLM will not serve this adapter; --to merged gives a model that it serves.")
        lines += [f"    {fault}" for fault in one["vllm"]["faults"]]
    elif kind == "adapter":
        lines.append(f"  {one['vllm']['command']}")
    return lines
