"""The card of an export: metadata that a hub reads, the run's scores that are its own, and how it is loaded."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from cft.export.trained import Trained
from cft.files import write_text
from cft.runs import CARD, REPORT_JSON, read_known
from cft.train.card import ADAPTER, SCORES_END, SCORES_START, WHOLE, adapter_kind, method_tags, scores
from cft.weights.compare import in_words
from eval.tasks.lm_tasks import known_tasks

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

RELATION = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized"}  # to the base, as the hub names it
LIBRARY = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}


def write_card(trained: Trained, folder: Path, kind: str, facts: dict) -> None:
    """Write the README.md of an export: metadata, scores, and then what the run's own card says of the training.

    `kind` is adapter, merged or gguf; `facts` is what export.json will hold: the comparisons.
    """
    from huggingface_hub import ModelCardData

    base, method = trained.base.hub_id, trained.recipe.train.method
    tasks = scored_tasks(trained, facts)
    tags = [f"base_model:{RELATION[kind]}:{base}"] if base else []
    adapter = adapter_kind(trained.recipe)
    tags += [*method_tags(method), *([adapter.lower()] if kind == "adapter" else [])]
    data = ModelCardData(
        **({"base_model": base, "base_model_relation": RELATION[kind]} if base else {}),
        **licence(trained.base.licence),
        library_name=LIBRARY[kind],
        pipeline_tag="text-generation",
        tags=tags,
        model_name=trained.recipe.name,
        eval_results=[result(task, trained.arm) for task in tasks] or None,
    )
    tables = "\n\n".join(scores(task) for task in tasks) or "Not scored."
    own = trained.run.adapter / CARD
    training = own.read_text(encoding="utf-8").partition(SCORES_END)[2].strip() if own.is_file() else ""
    write_text(
        folder / CARD,
        f"---\n{data.to_yaml()}\n---\n\n# {trained.recipe.name}\n\n{about(trained, kind, facts)}\n\n## Scores\n\n"
        f"{SCORES_START}\n{tables}\n{SCORES_END}\n\n{training}\n",
    )


def scored_tasks(trained: Trained, facts: dict) -> list[dict]:
    """The tasks of the run's report on which these weights were scored; none for 8-bit weights, which were not."""
    report = read_known(trained.run.report / REPORT_JSON)
    if report is None or facts.get("outtype") == "q8_0":
        return []
    return [task for task in report["tasks"] if any(arm["name"] == trained.arm for arm in task["arms"])]


def about(trained: Trained, kind: str, facts: dict) -> str:
    """What the files are, how they compare with what was scored, and how they are loaded."""
    base = f"`{trained.base.hub_id}`" if trained.base.hub_id else "a local model"
    after = f" after {trained.step} optimizer steps" if trained.step is not None else ""
    adapter = f"{adapter_kind(trained.recipe)} adapter"
    what = {
        "adapter": f"A {adapter} for {base}",
        "merged": f"{base} fine-tuned, all weights" if trained.full else f"{base} with a {adapter} merged in",
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
    base = f'"{trained.base.hub_id or "BASE"}"'
    if trained.base.hub_revision:
        base += f', revision="{trained.base.hub_revision}"'
    return f"```python\n{ADAPTER.format(base=base) if kind == 'adapter' else WHOLE}\n```"


def dataset_of(task: str) -> dict[str, str]:
    """A task's data set as the hub's metadata names it: its hub id, or the task itself where it has none."""
    _, given = known_tasks().get(task, (None, {}))
    items = (given.get("dataset_kwargs") or {}).get("items") or {}
    if not items.get("hub"):
        return {"dataset_type": task, "dataset_name": task}
    more = {f"dataset_{key}": items[key] for key in ("config", "split", "revision") if items.get(key)}
    return {"dataset_type": items["hub"], "dataset_name": items["hub"].rpartition("/")[2], **more}


def licence(name: str | None) -> dict[str, str]:
    """A licence as a hub's metadata has it: an SPDX id in small letters, or `other` and a name without spaces."""
    if not name:
        return {}
    if re.fullmatch(r"[\w.+-]+", name):
        return {"license": name.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower())}


def result(task: dict, arm: str) -> "EvalResult":
    """One task's accuracy of an arm as the hub's model-index has it; its interval and n stand in the metric's name."""
    from huggingface_hub import EvalResult

    arms = {one["name"]: one for one in task["arms"]}
    scored, base = arms[arm], arms.get("base")
    low, high = scored["ci"]
    against = f", base {base['accuracy']:.1%}" if base else ""
    return EvalResult(
        task_type="text-generation",
        task_name=f"{task['task']}, lm-eval",
        metric_type="accuracy",
        metric_value=round(100 * scored["accuracy"], 2),
        metric_name=f"accuracy in % (n = {scored['n']}, 95 % interval {low:.1%} to {high:.1%}{against})",
        **dataset_of(task["task"]),
    )
