"""Self-distillation: the teacher reads all of the critique, the student none; a kill changes nothing."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from cft.errors import TrainError
from cft.models.generate import render
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import Recipe
from cft.train import distil, job
from cft.train.rollouts.sampling import in_few_lengths
from cft.train.rollouts.taught import teacher_prompt
from tests.support.training import make_recipe, same_weights, write_examples

ARGS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_generations": 2,
    "max_completion_length": 8,
    "max_steps": 2,
    "save_steps": 1,
    "learning_rate": 1e-2,
}
LONG = 20  # times that the text of a critique stands in it: more than the 512 tokens that TRL would leave


def distil_recipe(model: Path, method: str, **args) -> Recipe:
    train = {"method": method, "args": ARGS | args}
    return Recipe.model_validate(make_recipe(model, dtype="float32").model_dump() | {"train": train})


def examples(path: Path, answer: str | None = "4") -> Path:
    rows = [json.loads(line) for line in write_examples(path, 3, LONG).read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"problem": "sum", "answer": answer}) + "\n" for row in rows))
    return path


def trained(recipe: Recipe, folder: Path) -> tuple[str, object]:
    """What a training prints, and its trainer."""
    console, trainers = Console(file=io.StringIO(), width=200), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distil, "train_to_end", lambda *given: trainers.append(job.train_to_end(*given)) or trainers[0])
        distil.train(recipe, examples(folder.with_suffix(".jsonl")), folder, console=console)
    return console.file.getvalue(), trainers[0]


@pytest.mark.parametrize("method", ["sdft", "sdpo"])
def test_the_teacher_reads_the_whole_critique_and_the_student_none_of_it(tiny_model, tmp_path, method):
    less_memory = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"selective": True}}
    recipe = distil_recipe(tiny_model, method, **less_memory if method == "sdpo" else {})
    said, trainer = trained(recipe, tmp_path / "train")
    assert "from its teacher" in said and (tmp_path / "train" / "adapter" / "adapter_model.safetensors").is_file()
    log = json.loads((tmp_path / "train" / "metrics.json").read_text())["log"]
    assert [row["step"] for row in log] == [1, 2] and all(row["reward"] == row["gibberish"] == 0 for row in log)
    assert log[0]["grad_norm"] > 0 and log[1]["tokens"] > log[0]["tokens"] > 0
    kept = [json.loads(line) for line in (tmp_path / "train" / "rollouts" / "step-1.jsonl").read_text().splitlines()]
    assert [set(row["rewards"]) for row in kept] == [{"correct"}] * 4

    tokenizer, rows = load_tokenizer(recipe.model), {row["id"]: row for row in trainer.train_dataset}
    batch = {key: torch.cat([part[key] for part in trainer._buffered_inputs]) for key in trainer._buffered_inputs[0]}
    assert batch["teacher_attention_mask"].sum(1).max() > 512
    student, taught = (
        [ids[mask.bool()] for ids, mask in zip(*pair, strict=True)]
        for pair in (
            (batch["prompt_ids"], batch["prompt_mask"]),
            (batch["teacher_input_ids"], batch["teacher_attention_mask"]),
        )
    )
    for i, row in enumerate(rows[answer["row"]] for answer in kept):
        assert tokenizer.decode(student[i]) == render(tokenizer, row["prompt"])
        expected = render(tokenizer, teacher_prompt(method, trainer.args.to_dict(), row))
        assert row["privileged_context"] in expected and row["prompt"][0]["content"] in expected
        assert tokenizer.decode(taught[i][: -batch["completion_mask"][i].sum()]) == expected

    # Few lengths change nothing; the teacher is the untrained model
    trainer.model.eval()
    few = in_few_lengths(batch, 64)
    assert few["completion_ids"].shape[1] == 64 and not few["teacher_input_ids"].shape[1] % 64
    losses = [trainer.compute_loss(trainer.model, one).item() for one in (batch, few, in_few_lengths(few, 1))]
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-3)
    width = batch["completion_ids"].shape[1]
    logits = trainer._compute_teacher_student_logits(trainer.model, trainer.teacher_model, batch)
    untrained = load_model(recipe.model)
    read = untrained(input_ids=batch["teacher_input_ids"], attention_mask=batch["teacher_attention_mask"]).logits
    torch.testing.assert_close(logits.teacher_logits, read[:, -width - 1 : -1])
    assert not torch.allclose(logits.teacher_logits, logits.student_logits, atol=1e-3)
    batch["teacher_input_ids"][:, -width - 100] = tokenizer.eos_token_id  # one character of the critique
    other = trainer._compute_teacher_student_logits(trainer.model, trainer.teacher_model, batch)
    assert not torch.allclose(logits.teacher_logits, other.teacher_logits, atol=1e-4)
    torch.testing.assert_close(logits.student_logits, other.student_logits)


def test_a_killed_training_ends_like_an_undisturbed_one(tiny_model, tmp_path, monkeypatch):
    class Interrupted(job.TrainProgress):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    # Two steps share the answers, and there are more than a pass over the rows
    recipe = distil_recipe(tiny_model, "sdft", max_steps=4, steps_per_generation=4, save_steps=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "TrainProgress", Interrupted)
        trained(recipe, tmp_path / "killed")
    said, _ = trained(recipe, tmp_path / "killed")
    assert "going on from step 2" in said
    trained(recipe, tmp_path / "whole")
    assert same_weights(tmp_path / "killed" / "adapter", tmp_path / "whole" / "adapter")
    for file in sorted((tmp_path / "whole" / "rollouts").iterdir()):
        assert file.read_text() == (tmp_path / "killed" / "rollouts" / file.name).read_text()


@pytest.mark.parametrize(
    ("method", "args", "answer", "said"),
    [
        (
            "sdft",
            {"teacher_prompt_template": "{prompt}{privileged_context}\\boxed{}"},
            "4",
            r"doubled, as in \boxed{{}}",
        ),
        ("sdpo", {"feedback_template": "{critique}"}, "4", "KeyError 'critique'"),
        ("sdpo", {"reprompt_template": "{prompt}"}, "4", "lacks the critique"),
        ("sdpo", {}, None, "3 of 3 rows have no `answer`"),
    ],
)
def test_what_cannot_be_taught_is_refused(tiny_model, tmp_path, method, args, answer, said):
    rows = examples(tmp_path / "examples.jsonl", answer)
    with pytest.raises(TrainError) as caught:
        distil.train(distil_recipe(tiny_model, method, **args), rows, tmp_path / "train", console=Console(quiet=True))
    assert said in str(caught.value)
