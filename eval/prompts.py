"""The ways to ask a question: one table for recipes, lm-eval's tasks and published scores.

A prompt is an overlay: a YAML file whose keys take the place of those of a task's own file. A new prompt is an entry
here and its overlay.
"""

from dataclasses import dataclass
from pathlib import Path

OVERLAYS = Path(__file__).parent / "tasks" / "prompts"
OWN_PROMPT = "boxed-user"  # the prompt that tasks have without an overlay, as eval/baselines/baselines.yaml calls it


@dataclass(frozen=True)
class Prompt:
    """One way to ask."""

    overlay: Path
    chat: bool = True  # whether the model's chat template is applied
    published: str | None = None  # its name in eval/baselines/baselines.yaml
    sampled: bool = False  # several answers an item, for plain lm_eval; in a recipe `eval.samples` says it, not an arm


PROMPTS = {
    "system": Prompt(OVERLAYS / "system", published="qwen25-math-cot"),
    "plain": Prompt(OVERLAYS / "plain", chat=False, published="plain"),
    "fewshot": Prompt(OVERLAYS / "fewshot", chat=False, published="fewshot"),
    "python": Prompt(OVERLAYS / "python", published="python-prefix"),
    "sampled": Prompt(OVERLAYS / "sampled", sampled=True),
}


def is_chat(prompt: str | None) -> bool:
    """Whether the model's chat template is applied to this prompt; None is the task's own."""
    return prompt is None or PROMPTS[prompt].chat


def arm_prompts() -> list[str]:
    """The prompts that an arm may have."""
    return [name for name, prompt in PROMPTS.items() if not prompt.sampled]
