"""The rows of self-distillation: prompts, each with a critique that only the teacher reads."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl.experimental.sdft import SDFTConfig
from trl.experimental.sdpo import SDPOConfig

from cft.devices import pick_device
from cft.errors import TrainError
from cft.models.generate import render
from cft.rows import load_rows
from cft.terminal import Terminal
from cft.train.loop.defaults import rollout_defaults
from cft.train.rollouts.prompts import PromptRows, check_columns, fitting, show_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cft.recipe.blocks import Recipe

CONFIGS = {"sdft": SDFTConfig, "sdpo": SDPOConfig}
UNCUT = 10**7  # tokens of a prompt that TRL may not cut: more than any has
# TRL keeps 512 tokens of SDFT's prompts and throws the question away, which stands first; SDPO's teacher is an average
# of the student's weights that lives in memory only, and sees no critique
OURS = {
    "sdft": {"max_prompt_length": None},
    "sdpo": {
        "diagnostics_warning_interval": 0,  # of rewards, which only choose what the teacher is shown
        "max_prompt_length": None,
        "max_reprompt_len": UNCUT,
        "teacher_model_kind": "base",
        "include_environment_feedback": True,
    },
}


def taught_rows(examples: Path, tokenizer: "PreTrainedTokenizerBase", method: str, args: dict[str, Any]) -> PromptRows:
    """The rows with their completion, the critique, as "privileged_context"; lengths are of the teacher's prompts.

    Args:
        args: of the method's configuration.

    Raises:
        DataError, TrainError: a row is damaged, or lacks the gold answer that sdpo compares with; a template cannot be
            filled in; a teacher's prompt leaves no room for the student's answer.
    """
    rows = load_rows(examples, conversations=False)
    check_columns(examples, rows)
    for row in rows:
        row["privileged_context"] = "\n".join(message["content"] for message in row.pop("completion"))
    if method == "sdpo" and (bare := [row["id"] for row in rows if row.get("answer") is None]):
        raise TrainError(
            f"{examples}: {len(bare)} of {len(rows)} rows have no `answer`, with which sdpo compares; the first is "
            f"{bare[0]}. Give their problem in data.problems, or take train.method sdft."
        )
    args, limit, shown = trl_defaults(method) | args, args["max_completion_length"], 0
    if method == "sdpo":  # its teacher may be shown a right answer of the same group
        shown = limit + len(tokenizer(args["solution_template"])["input_ids"])
    return fitting(rows, [teacher_prompt(method, args, row) for row in rows], tokenizer, limit, shown)


def arguments(recipe: "Recipe") -> dict[str, Any]:
    """The keys of the configuration that the recipe or we set."""
    asked = recipe.train.args
    return rollout_defaults(pick_device(), recipe.model.dtype, asked) | OURS[recipe.train.method] | asked


def trl_defaults(method: str) -> dict[str, Any]:
    """The keys of a method's configuration that have a default."""
    return {field.name: field.default for field in fields(CONFIGS[method])}


def teacher_prompt(method: str, args: dict[str, Any], row: dict[str, Any]) -> list[dict[str, str]]:
    """What TRL lets the teacher of a row read, as messages; of sdpo while no answer is right.

    Args:
        args: all keys of the method's configuration.

    Raises:
        TrainError: a template cannot be filled in.
    """
    question, critique = row["prompt"][-1]["content"], row["privileged_context"]
    if not args.get("include_environment_feedback", True):
        critique = ""
    try:
        if method == "sdft":
            text = args["teacher_prompt_template"].format(prompt=question, privileged_context=critique)
        else:
            feedback = args["feedback_template"].format(feedback_raw=critique) if critique else ""
            args["solution_template"].format(successful_previous_attempt="")
            text = args["reprompt_template"].format(prompt=question, solution="", feedback=feedback)
    except (LookupError, ValueError) as error:
        raise TrainError(
            f"train.args: a template of the teacher's prompt cannot be filled in: {type(error).__name__} {error}. Its "
            "places are those of TRL's own template; braces that are meant as such are doubled, as in \\boxed{{}}."
        ) from error
    if critique not in text:
        places = "{privileged_context}" if method == "sdft" else "{feedback} and {feedback_raw}"
        raise TrainError(f"train.args: the teacher's prompt lacks the critique. Write {places} into its template.")
    return [*row["prompt"][:-1], {"role": "user", "content": text}]


def preflight_taught(
    recipe: "Recipe", examples: Path, tokenizer: "PreTrainedTokenizerBase", number: int, console: Terminal | None
) -> dict[str, Any]:
    """Check the rows as training will and, given a console, print the teacher's prompt of row `number`.

    Returns:
        the counts of `PromptRows.summary`, and the row: {"id", "prompt", "teacher"}, as both read it.

    Raises:
        DataError, TrainError: as `taught_rows`; or there is no such row.
    """
    method, args = recipe.train.method, arguments(recipe)
    checked = taught_rows(examples, tokenizer, method, args)
    row = checked.row(number)
    taught = render(tokenizer, teacher_prompt(method, trl_defaults(method) | args, row))
    if console:
        show_prompt(console, f"row {row['id']}: what the teacher reads; the student reads only the question", taught)
    shown = {"id": row["id"], "prompt": render(tokenizer, row["prompt"]), "teacher": taught}
    return checked.summary() | {"row": shown}
