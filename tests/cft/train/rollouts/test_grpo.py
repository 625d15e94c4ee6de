"""GRPO on tiny models: what is sampled and computed is what TRL computes, and rewards move what they should."""

import io
import json
import math
from itertools import product
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.nn.functional import pad
from trl import GRPOTrainer

from cft.errors import DataError, TrainError
from cft.models.load import load_tokenizer
from cft.recipe.blocks import Recipe
from cft.train import grpo
from cft.train.examine import sampler_difference
from cft.train.preflight import preflight_run
from cft.train.rollouts import sampling
from cft.train.rollouts.prompts import data_set, prompt_rows
from tests.support.tiny import ARMS, two_armed_model
from tests.support.training import same_weights

QUESTION = "What is 2+2?"
ARGS = {"max_steps": 4, "max_completion_length": 12, "per_device_train_batch_size": 4, "num_generations": 4}
ARGS |= {"gradient_accumulation_steps": 2, "learning_rate": 1e-2}


def make_recipe(model: Path, rewards: list | None = None, dtype: str = "float32", **args) -> Recipe:
    train = {"method": "grpo", "rewards": rewards or ["random"], "args": ARGS | args}
    data = {"builder": "prompts", "problems": ["bakery"]}
    model = {"id": str(model), "dtype": dtype}
    return Recipe.model_validate({"name": "t", "model": model, "data": data, "train": train, "eval": {"tasks": ["t"]}})


@pytest.fixture
def examples(tmp_path) -> Path:
    path = tmp_path / "examples.jsonl"
    prompt = [{"role": "user", "content": QUESTION}]
    path.write_text(json.dumps({"id": "sum", "problem": "p", "critique": None, "prompt": prompt, "answer": "4"}) + "\n")
    return path


def train(recipe: Recipe, examples: Path, folder: Path) -> tuple[list[dict], str]:
    """The log of a training, and what it printed."""
    console = Console(file=io.StringIO(), width=200)
    grpo.train(recipe, examples, folder, console=console)
    return json.loads((folder / "metrics.json").read_text())["log"], console.file.getvalue()


def trainer_of(recipe: Recipe, examples: Path, folder: Path, monkeypatch) -> grpo.RolloutTrainer:
    """The trainer as it is when training begins."""
    made = []

    def stop(job, setting, trainer):
        made.append(trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grpo, "train_to_end", stop)
        grpo.train(recipe, examples, folder, console=Console(quiet=True))
    made[0].model.train()
    made[0].current_gradient_accumulation_steps = 1
    return made[0]


def rows_of(folder: Path, step: int) -> list[dict]:
    return [json.loads(line) for line in (folder / f"rollouts/step-{step}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("entropy_coef", "others"), [(0.0, []), (-0.1, []), (0.0, [1, 3])])
def test_log_probabilities_and_gradients_with_a_prompt_read_once_are_those_of_trl(
    tiny_model, examples, tmp_path, monkeypatch, entropy_coef, others
):
    """`others`: the rows of another prompt, which is shorter."""
    recipe = make_recipe(tiny_model, entropy_coef=entropy_coef, temperature=0.7)
    trainer = trainer_of(recipe, examples, tmp_path / "train", monkeypatch)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    prompt = torch.tensor(trainer._tokenize_prompts([[{"role": "user", "content": QUESTION}]])[0]).repeat(4, 1)
    seen = pad(torch.ones_like(prompt), (3, 0))  # padded in front and behind, as TRL does
    prompt, width = pad(prompt, (3, 0), value=trainer.processing_class.pad_token_id), 128
    prompt[others, :5], seen[others, :5] = trainer.processing_class.pad_token_id, 0
    prompt[others, 5] = 7
    completion = torch.randint(5, 250, (4, width), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(width) < torch.tensor([9, 1, 4, 7])[:, None]
    completion = completion.masked_fill(~mask, trainer.processing_class.pad_token_id)
    batch = {
        "prompt_ids": prompt,
        "prompt_mask": seen,
        "completion_ids": completion,
        "completion_mask": mask.long(),
        "advantages": torch.tensor([1.0, -0.5, 0.3, -2.0]),
        "num_items_in_batch": mask.sum(),
    }
    assert trainer.reads_prompt_once

    def gradients() -> torch.Tensor:
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, batch).backward()
        return torch.cat([weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None])

    given = trainer.model, torch.cat([prompt, completion], 1), torch.cat([seen, mask.long()], 1), width
    ours = trainer._get_per_token_logps_and_entropies(*given, compute_entropy=True)
    theirs = GRPOTrainer._get_per_token_logps_and_entropies(trainer, *given, compute_entropy=True)
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(one * mask, other * mask, rtol=1e-5, atol=1e-5)
    once = gradients()
    trainer.reads_prompt_once = False
    assert (once - gradients()).norm() < 1e-4 * once.norm()


def test_the_sampled_tokens_have_the_probabilities_that_the_loss_sees(tiny_model, examples, tmp_path, monkeypatch):
    """Greedy sampling takes the most likely token, under an adapter that has moved."""
    trainer = trainer_of(make_recipe(tiny_model, temperature=1e-6), examples, tmp_path / "train", monkeypatch)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    prompt = trainer._tokenize_prompts([[{"role": "user", "content": QUESTION}]])[0][0]
    one, other = sampling.sample(trainer, [prompt, prompt], draw=3)
    assert one == other and trainer.model.training
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor([prompt + one])).logits[0, len(prompt) - 1 : -1]
    assert logits.argmax(-1).tolist() == one


def test_preflight_shows_the_prompt_that_completions_go_on_from(tiny_model, examples):
    found = preflight_run(make_recipe(tiny_model), examples, 0, console := Console(file=io.StringIO()))
    assert found["row"]["prompt"] == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    assert found["row"]["prompt"] in console.file.getvalue() and found["longest_tokens"] == found["prompt_tokens"] + 12
    with pytest.raises(TrainError, match="numbered 0 to 0"):
        preflight_run(make_recipe(tiny_model), examples, 1, None)


def test_rows_that_rewards_cannot_be_computed_on_are_refused(tiny_model, examples):
    row, tokenizer = json.loads(examples.read_text()), load_tokenizer(make_recipe(tiny_model).model)

    def fault(*rows: dict) -> str:
        examples.write_text("".join(json.dumps(row | {"id": f"row{i}"} | more) + "\n" for i, more in enumerate(rows)))
        with pytest.raises(DataError) as caught:
            prompt_rows(examples, tokenizer, 12)
        return str(caught.value)

    said = fault({"answer": 4}, {"problem": None}, {"majority": 5, "incorrect": None}, {"correct": True})
    assert "3 faulty row(s)" in said and "row0: `answer` is 4; it must be text" in said
    assert "row row1: `problem` is None" in said and "row row2: `majority` is 5" in said
    assert "`correct` is None; it must be true or false" in fault({"candidate": "a"})
    assert "`prompt` is empty" in fault({"prompt": [{"role": "user", "content": " "}]})
    with pytest.raises(TrainError, match="a column holds values of several types"):
        data_set([{"mine": 1}, {"mine": "a"}])


def test_what_is_sampled_has_the_rounding_of_the_loss_and_leaves_none(tiny_model, examples, tmp_path, monkeypatch):
    trainer = trainer_of(make_recipe(tiny_model, dtype="bfloat16"), examples, tmp_path / "train", monkeypatch)
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    for weight in trained:
        torch.nn.init.normal_(weight, std=0.3)
    before = [weight.detach().clone() for weight in trained]
    with sampling.rounded_adapter(trainer):
        assert {weight.dtype for weight in trained} == {torch.bfloat16}
    prompt = trainer._tokenize_prompts([[{"role": "user", "content": QUESTION}]])[0][0]
    (completion,) = sampling.sample(trainer, [prompt], draw=0)
    assert all(torch.equal(weight, kept) for weight, kept in zip(trained, before, strict=True))
    assert sampler_difference(trainer, prompt, completion)["mean"] < 0.05  # nats; bfloat16 rounds logits to 0.4 %


def test_a_killed_training_ends_like_an_undisturbed_one(tiny_model, examples, tmp_path, monkeypatch):
    """Two optimizer steps share a generation; the kill comes after the first of them."""
    from cft.train import job

    recipe = make_recipe(tiny_model, max_steps=4, steps_per_generation=4, save_steps=2)

    class Interrupted(job.TrainProgress):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job, "TrainProgress", Interrupted)
        train(recipe, examples, tmp_path / "killed")
    log, said = train(recipe, examples, tmp_path / "killed")
    assert "going on from step 2" in said
    undisturbed, _ = train(recipe, examples, tmp_path / "undisturbed")
    assert same_weights(tmp_path / "killed/adapter", tmp_path / "undisturbed/adapter")
    assert [row["reward"] for row in log if "reward" in row] == [
        row["reward"] for row in undisturbed if "reward" in row
    ]
    assert rows_of(tmp_path / "killed", 2) == rows_of(tmp_path / "undisturbed", 2)
    assert sorted(path.stem for path in (tmp_path / "killed/rollouts").iterdir()) == ["step-0", "step-2"]
    assert max(row["clip_ratio/region_mean"] for row in log) > 0  # the second step is off-policy


def test_a_correct_reward_rises_and_its_negative_falls(examples, tmp_path):
    model = two_armed_model(tmp_path / "model", QUESTION, 0.5)
    args = {"max_completion_length": 1, "per_device_train_batch_size": 32, "gradient_accumulation_steps": 1}
    for weight, expected in ((1.0, 1.0), (-1.0, 0.0)):
        folder = tmp_path / f"weight{weight}"
        rewards = [{"kind": "correct", "weight": weight}]
        log, said = train(make_recipe(model, rewards, learning_rate=1e-3, **args), examples, folder)
        shares = [sum(row["text"] == ARMS[0] for row in rows_of(folder, step)) / 32 for step in range(4)]
        assert 0.3 < shares[0] < 0.7 and abs(shares[-1] - expected) < 0.1
        assert "reward " in said and log[-1]["reward"] == pytest.approx(weight * shares[-1])
        assert {row["text"] for row in rows_of(folder, 0)} == set(ARMS)


def drift(trainer: grpo.RolloutTrainer, old: float, group: int = 4) -> float:
    """How fast the expected loss of random rewards moves the log-odds of the first arm; exact, by enumeration.

    Args:
        old: probability of the first arm when the completions were sampled.
    """
    arms = trainer.processing_class.convert_tokens_to_ids(list(ARMS))
    rows = []  # (arm, advantage times probability)
    for chosen in product((0, 1), repeat=group):
        likely = math.prod((old, 1 - old)[arm] for arm in chosen) / 2**group
        for rewards in product((0.0, 1.0), repeat=group):
            values = torch.tensor(rewards)
            advantages = (values - values.mean()) / (values.std() + 1e-4)
            rows += [(arm, likely * advantage) for arm, advantage in zip(chosen, advantages.tolist(), strict=True)]
    rows = [(arm, sum(a for one, a in rows if one == arm and (a > 0) == up)) for arm in (0, 1) for up in (True, False)]
    prompt = torch.tensor(trainer._tokenize_prompts([[{"role": "user", "content": QUESTION}]])[0]).repeat(len(rows), 1)
    ids = torch.tensor([[arms[arm]] for arm, _ in rows])
    batch = {
        "prompt_ids": prompt,
        "prompt_mask": torch.ones_like(prompt),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": torch.tensor([advantage for _, advantage in rows]),
        "num_items_in_batch": torch.tensor(1),
        "old_per_token_logps": torch.tensor([[math.log((old, 1 - old)[arm])] for arm, _ in rows]),
    }
    trained = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    loss = trainer.compute_loss(trainer.model, batch)
    falls = torch.autograd.grad(loss, trained, allow_unused=True)
    logits = trainer.model(input_ids=prompt[:1]).logits[0, -1]
    odds = torch.autograd.grad(logits[arms[0]] - logits[arms[1]], trained, allow_unused=True)
    pairs = [pair for pair in zip(falls, odds, strict=True) if None not in pair]
    return (-sum((one * other).sum() for one, other in pairs) / sum((other**2).sum() for _, other in pairs)).item()


def test_random_rewards_move_the_policy_to_what_was_likely_only_by_clipping(examples, tmp_path, monkeypatch):
    """The policy, 0.8 at first, has moved by as much up as down by earlier steps of the generation, by chance."""
    total = {0.2: 0.0, 100.0: 0.0}  # by epsilon
    for share in (0.7, 0.9):
        model = two_armed_model(tmp_path / f"model{share}", QUESTION, share)
        recipe = make_recipe(model, max_completion_length=1)
        trainer = trainer_of(recipe, examples, tmp_path / f"train{share}", monkeypatch)
        for trainer.epsilon_low in total:
            trainer.epsilon_high = trainer.epsilon_low
            total[trainer.epsilon_low] += drift(trainer, old=0.8)
    assert total[0.2] > 0.01 and abs(total[100.0]) < 1e-5
