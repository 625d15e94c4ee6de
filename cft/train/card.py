"""README.md of what a run trained: what it is, what made it, how to load it, and, once known, its scores."""

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cft.files import write_text
from cft.foreign import read_text
from cft.runs import CARD
from cft.words import spread

if TYPE_CHECKING:
    from cft.models.source import ModelSource
    from cft.recipe.blocks import Recipe

SCORES_START, SCORES_END = "<!-- scores: start -->", "<!-- scores: end -->"
CURVE_POINTS = 10
ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({base})
model = AutoModelForCausalLM.from_pretrained({base}, dtype="auto")
model = PeftModel.from_pretrained(model, "path/to/this/folder")"""
WHOLE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder", dtype="auto")"""


def write_card(
    folder: Path, *, recipe: "Recipe", source: "ModelSource", summary: dict, log: list[dict], versions: dict[str, str]
) -> None:
    """Write `folder`/README.md.

    Args:
        summary: what `cft.train.sft.train` returns; printed as it is.
        log: one {"step", "loss", ...} a step.
        versions: of the libraries.
    """
    base, revision, method = source.public_name, source.hub_revision, recipe.train.method
    on_hub = {"base_model": base} if source.hub_id else {}  # a hub refuses a card whose base_model is a path
    full = recipe.train.full
    kind, library = ("finetune", "transformers") if full else ("adapter", "peft")
    tags = [f"base_model:{kind}:{name}" for name in on_hub.values()]
    adapter = "" if full else adapter_kind(recipe)
    tags += [*([] if full else [adapter.lower()]), *method_tags(method)]
    relation = {"base_model_relation": kind} if on_hub else {}
    head = {**on_hub, **relation, "library_name": library, "pipeline_tag": "text-generation"}
    head |= {"license": source.licence, "tags": tags}
    front = yaml.safe_dump({k: v for k, v in head.items() if v}, sort_keys=False, allow_unicode=True)
    from_pretrained = f'"{base}"' + (f', revision="{revision}"' if revision else "")
    facts = "\n".join(f"| {key} | {value} |" for key, value in {"seed": recipe.seed, **summary}.items())
    made = "All weights of" if full else f"A {adapter} adapter for"
    at = f" at revision `{revision}`" if revision else ""
    losses = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in zip(*curve(log), strict=True))
    write_text(
        folder / CARD,
        f"""---
{front}---

# {recipe.name}

{made} `{base}`{at}, trained with method `{method}`.

```python
{WHOLE if full else ADAPTER.format(base=from_pretrained)}
```

## Scores

{SCORES_START}
Not scored yet.
{SCORES_END}

## Training

| | |
|---|---|
{facts}

{losses}

Versions: {", ".join(f"{name} {number}" for name, number in versions.items())}.

## Recipe

```yaml
{recipe.to_yaml().rstrip()}
```
""",
    )


def adapter_kind(recipe: "Recipe") -> str:
    """The name of the kind of adapter that a recipe trains."""
    kind = recipe.train.lora.get("peft_type", "LORA")
    return {"LORA": "LoRA", "TINYLORA": "TinyLoRA"}.get(kind, kind)


def method_tags(method: str) -> list[str]:
    """What a hub's search knows the training by; critique fine-tuning is supervised too."""
    return ["trl", method, *(["sft"] if method == "cft" else [])]


def curve(log: list[dict]) -> list[tuple]:
    """Columns (heading, rule, value ...) of a table of the loss; at most CURVE_POINTS steps, the ends among them."""
    rows = spread(log, CURVE_POINTS)
    return [("step", "---", "loss"), *((row["step"], "---", f"{row['loss']:.3f}") for row in rows)]


def add_scores(folder: Path, report: dict) -> None:
    """Put a report (what report.json holds) into the Scores section of `folder`/README.md, over what was there.

    Without such a file nothing happens. Raises DataError if it is no text.
    """
    path = folder / CARD
    if not path.is_file():
        return
    text = read_text(path)
    before, _, rest = text.partition(SCORES_START)
    after = rest.partition(SCORES_END)[2]
    tables = "\n\n".join(scores(task) for task in report.get("tasks") or [report])
    write_text(path, f"{before}{SCORES_START}\n{tables}\n{SCORES_END}{after}")


def scores(report: dict) -> str:
    """One task's arms and paired differences as Markdown; accuracies in percent."""
    lines = [f"**{report['task']}**", "", "| arm | accuracy | 95 % interval | n |", "|---|---|---|---|"]
    for arm in report["arms"]:
        low, high = arm["ci"]
        lines.append(f"| {arm['name']} | {arm['accuracy']:.1%} | {low:.1%} to {high:.1%} | {arm['n']} |")
    for pair in report["comparisons"]:
        low, high = pair["ci"]
        test = "exact McNemar" if pair["test"] == "mcnemar" else "exact sign-flip test"
        lines.append(
            f"\n{pair['arm']} against {pair['against']} on the same questions: {100 * pair['difference']:+.1f} points "
            f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}, {test} p = {pair['p']:.2g}; "
            f"{pair['gained']} gained, {pair['lost']} lost)."
        )
    return "\n".join(lines)
