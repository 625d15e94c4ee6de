"""The card of an export: which of the run's scores are its own, and how it is loaded."""

from pathlib import Path

import yaml

from cft.export.trained import Trained
from cft.files import read_json
from cft.train.card import write_export_card
from cft.weights.compare import in_words


class _TaskLoader(yaml.SafeLoader):
    """Reads lm-eval's task files; what their tags would call is left out."""


_TaskLoader.add_multi_constructor("!", lambda loader, suffix, node: None)


def write_card(trained: Trained, folder: Path, kind: str, facts: dict) -> None:
    """Write the README.md of an export of this kind.

    Args:
        facts: what export.json will hold: the comparisons.
    """
    report = read_json(trained.run.report / "report.json")
    if report and not report.get("tasks"):
        report = report | {"tasks": [report]}
    arm = "adapter" if trained.step is None else f"step-{trained.step}"
    if kind == "gguf" and facts.get("outtype") == "q8_0":
        report = None  # 8-bit weights are not what was scored
    write_export_card(
        folder, recipe=trained.recipe, source=trained.base, kind=kind, trained=trained.run.adapter, arm=arm,
        report=report, datasets={task: dataset_of(task) for task in trained.recipe.eval.tasks},
        about=about(trained, kind, facts),
    )  # fmt: skip


def about(trained: Trained, kind: str, facts: dict) -> str:
    """What the files are, how they compare with what was scored, and how they are loaded."""
    base = f"`{trained.base.hub_id}`" if trained.base.hub_id else "a local model"
    after = f" after {trained.step} optimizer steps" if trained.step is not None else ""
    what = {
        "adapter": f"A LoRA adapter for {base}",
        "merged": f"{base} fine-tuned, all weights" if trained.full else f"{base} with a LoRA adapter merged in",
        "gguf": f"{base} fine-tuned, as GGUF ({facts.get('outtype')})",
    }[kind]
    lines = [f"{what}, trained with method `{trained.recipe.train.method}`{after}."]
    if facts.get("check"):
        against = "the merged model" if kind == "gguf" else "the adapter"
        lines.append(f"Compared with {against}: {in_words(facts['check'])}.")
    if facts.get("against_4_bit"):
        lines.append(
            "The adapter was trained on 4-bit weights and is merged into 16-bit ones. Against the adapter on the 4-bit "
            f"base: {in_words(facts['against_4_bit'])}. The scores are those of the adapter on the 4-bit base."
        )
    if kind == "merged" and not trained.full:
        lines.append("The scores are those of the unmerged adapter.")
    if kind == "gguf" and facts.get("outtype") == "q8_0":
        lines.append("The run's scores are those of 16-bit weights; this file was not scored.")
    return " ".join(lines) + "\n\n" + usage(trained, kind, facts)


def usage(trained: Trained, kind: str, facts: dict) -> str:
    """Commands that load the folder from where it will stand."""
    if kind == "gguf":
        return f"```sh\nllama-cli -m {facts['file']} --temp 0\n```"
    name = trained.base.public_name if trained.base.hub_id else "BASE"
    revision = f', revision="{trained.base.hub_revision}"' if trained.base.hub_revision else ""
    head = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    load = 'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
    if kind == "adapter":
        head = "from peft import PeftModel\n" + head
        load += f'model = AutoModelForCausalLM.from_pretrained("{name}"{revision}, dtype="auto")\n'
        load += 'model = PeftModel.from_pretrained(model, "path/to/this/folder")'
    else:
        load += 'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto")'
    return f"```python\n{head}{load}\n```"


def dataset_of(task: str) -> dict[str, str]:
    """A task's data set as the hub's metadata names it: its hub id, or the task itself where it has none."""
    import eval as package

    base = next(Path(package.__file__).parent.glob(f"tasks/*/{task}.yaml"), None)
    given = yaml.load(base.read_text(encoding="utf-8"), _TaskLoader) if base else {}
    items = (given.get("dataset_kwargs") or {}).get("items") or {}
    if not items.get("hub"):
        return {"dataset_type": task, "dataset_name": task}
    found = {"dataset_type": items["hub"], "dataset_name": items["hub"].rpartition("/")[2]}
    more = {"dataset_config": "config", "dataset_split": "split", "dataset_revision": "revision"}
    return found | {key: items[name] for key, name in more.items() if items.get(name)}
