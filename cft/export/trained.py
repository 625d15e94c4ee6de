"""What a run trained, as the exports take it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cft.errors import RunError
from cft.files import sha256_file
from cft.models.source import ModelSource, resolve, template_identity
from cft.recipe.blocks import METHODS, ModelBlock, Recipe
from cft.recipe.load import load_recipe
from cft.runs import METRICS, STEPS, TRAIN, Run, read_known, step_name
from cft.weights.adapter import adapter_identity, is_whole


@dataclass(frozen=True)
class Trained:
    """What a run's train stage left: an adapter, or after full fine-tuning a whole model."""

    run: Run
    recipe: Recipe
    folder: Path
    step: int | None  # None: the last one
    full: bool
    quantized: bool  # whether it was trained on 4-bit weights

    @cached_property
    def block(self) -> ModelBlock:
        """The base as it is merged into: not quantised."""
        return self.recipe.model.model_copy(update={"quantization": "none"})

    @cached_property
    def base(self) -> ModelSource:
        return resolve(self.block)

    @property
    def name(self) -> str:
        return self.recipe.name if self.step is None else f"{self.recipe.name}-{step_name(self.step)}"

    @property
    def arm(self) -> str:
        """The arm of the run's report that these weights answer as."""
        return "adapter" if self.step is None else step_name(self.step)

    @property
    def has_completions(self) -> bool:
        """Whether the rows that it was trained on are more than prompts."""
        return self.recipe.data.builder in METHODS["sft"].builders

    @cached_property
    def identity(self) -> dict:
        """What decides the exported weights; no paths in it."""
        names = ("*.safetensors", "adapter_config.json", "config.json")
        files = {path.name: sha256_file(path) for name in names for path in sorted(self.folder.glob(name))}
        return {
            "trained": files,
            "base": self.base.identity,
            "dtype": self.block.dtype,
            "chat_template": template_identity(self.block),
            "step": self.step,
        }


def open_trained(run: Run, step: int | None = None) -> Trained:
    """What it trained, after `step` optimizer steps or at the end. Raises RunError or EvalError if it is not there."""
    recipe = load_recipe(str(run.recipe))
    if recipe.train.method == "none":
        raise RunError(f"{run.path}: its recipe trains nothing (train.method none), so there is nothing to export.")
    run.need(TRAIN, run.adapter)
    summary = (read_known(run.train / METRICS) or {}).get("summary", {})
    folder = run.adapter
    if step is not None and step != summary.get("steps"):
        folder = run.kept_adapter(step)
        if not folder.is_dir():
            steps = sorted(int(path.name.rpartition("-")[2]) for path in (run.train / STEPS).glob("step-*"))
            steps += [summary["steps"]] if "steps" in summary else []
            raise RunError(
                f"--step {step}: was not kept. Kept steps of {run.path}: {', '.join(map(str, steps)) or 'none'}. "
                "train.keep_steps keeps more of them."
            )
    adapter_identity(folder)  # raises if it is neither
    quantized = recipe.model.quantization == "nf4" or "quantization=nf4" in str(summary.get("fell_back_to", ""))
    return Trained(run, recipe, folder, None if folder == run.adapter else step, is_whole(folder), quantized)
