"""The plan of a training on the model's own completions: what is sampled, trained and read, and what holds it."""

import re
from pathlib import Path

import pytest

from cft.files import write_jsonl
from cft.plan.plan import make_plan
from cft.recipe.load import load_recipe

RECIPE = """\
name: planned
model: {id: qwen2.5-coder-0.5b, dtype: bfloat16}
data: {builder: prompts, problems: [bakery]}
train: {method: grpo, rewards: [correct], args: {max_steps: 24, max_completion_length: 250}}
eval: {tasks: [cft_wordproblems], arms: [base, adapter]}
"""
CRITIQUES = ["data={builder: critiques, problems: [bakery], teachers: [{kind: file, path: bakery}]}"]


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """The plan of RECIPE with overrides on a card: its two train stages, and its memory."""
    (tmp_path / "planned.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)

    def plan(*overrides: str) -> tuple[dict, dict, dict]:
        made = make_plan(load_recipe("planned.yaml", overrides), tmp_path / "runs", "rtx 4090")
        sampling, training = (stage for stage in made["stages"] if stage["stage"] == "train")
        return sampling | {"run": made["run"]}, training, made["memory"]

    return plan


def numbers(stage: dict) -> tuple[float, float]:
    return stage["estimates"]["tokens"], stage["estimates"]["seconds"]


def test_rollouts_and_training_are_told_apart(planned):
    sampling, training, _ = planned()
    assert sampling["rows"] == "1 prompt: 24 x 32 completions sampled (~150 tokens each, an estimate)"
    assert training["rows"] == "24 steps on them, each trained on 1 time"
    assert numbers(training)[0] == 24 * 32 * 150 < numbers(sampling)[0] < 1.2 * 24 * 32 * 150

    often, learnt, _ = planned("train.args.num_iterations=4")  # six generations, each trained on four times
    assert often["rows"].startswith("1 prompt: 6 x 32 ") and learnt["rows"].endswith("each trained on 4 times")
    assert numbers(often)[0] == round(numbers(sampling)[0] / 4) and numbers(often)[1] < numbers(sampling)[1]
    assert numbers(learnt)[0] == numbers(training)[0]
    assert numbers(learnt)[1] > numbers(training)[1]  # what the sampler thought of them is read once more
    large, _, _ = planned("train.args.steps_per_generation=16")
    assert large["rows"].startswith("1 prompt: 6 x 128 ") and numbers(large)[0] == numbers(sampling)[0]
    assert numbers(planned("train.args.beta=0.01")[1])[1] > numbers(training)[1]  # a reference reads them


def test_lengths_that_were_measured_replace_the_guess(planned):
    run = Path(planned()[0]["run"])
    write_jsonl(run / "train" / "rollouts" / "step-0.jsonl", [{"tokens": 40}, {"tokens": 60}])
    sampling, training, _ = planned()
    assert "~50 tokens each, as measured" in sampling["rows"]
    assert numbers(training)[0] == 24 * 32 * 50


@pytest.mark.parametrize("method", ["sdft", "sdpo"])
def test_a_teacher_reads_each_completion_with_what_it_knows(planned, method):
    train = ["train={method: %s, args: {max_steps: 24, max_completion_length: 250}}" % method, *CRITIQUES]  # noqa: UP031
    sampling, training, memory = planned(*train)
    assert re.match(r"\d{2,} prompts: 24 x 32 ", sampling["rows"]) and "the teacher reads each too" in training["rows"]
    alone, without = planned()[1:]
    assert numbers(training)[0] == numbers(alone)[0] and numbers(training)[1] > 1.2 * numbers(alone)[1]
    assert memory["training"]["logits"] > 5 * without["training"]["logits"]  # of all tokens, twice


def test_the_larger_of_rollouts_and_training_decides_what_fits(planned):
    _, _, small = planned()
    many = ["train.args.per_device_train_batch_size=1", "train.args.steps_per_generation=512"]
    _, _, wide = planned(*many, "train.args.max_completion_length=4000")
    assert wide["peak_gb"] == wide["rollouts_gb"] > 10 * small["rollouts_gb"] > wide["training_gb"]
    big = ["train.args.per_device_train_batch_size=128", "train.args.gradient_accumulation_steps=1"]
    big += ["train.args.steps_per_generation=4", "train.args.max_completion_length=2000"]
    _, _, high = planned(*big)
    assert high["peak_gb"] == high["training_gb"] > high["room"]["gb"] > high["knob_gb"]
    turned = dict(word.removeprefix("train.args.").split("=") for word in high["knob"])
    rows = int(turned["per_device_train_batch_size"])
    assert rows * int(turned["steps_per_generation"]) == 128 * 4  # the same completions a generation
    kept = [one for one in big if one.partition("=")[0] not in {word.partition("=")[0] for word in high["knob"]}]
    assert planned(*kept, *high["knob"])[2]["fits"]
