"""What is said of rewards that are misspelt, that count for nothing, or that do not fit the rows."""

import pytest

from cft.errors import RecipeError
from cft.recipe.load import load_recipe

RECIPE = """\
name: demo
model: {id: some-model}
data: DATA
train: {method: grpo, rewards: REWARDS, args: {ARGS}}
eval: {tasks: [sums]}
"""
STUDENTS = "students: [{samples: 8}]"


def recipe(rewards: str, builder: str = "prompts", students: str = STUDENTS, args: str = "") -> str:
    data = f"{{builder: {builder}, problems: [bakery], {students}}}"
    return RECIPE.replace("REWARDS", rewards).replace("DATA", data).replace("ARGS", args)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (recipe("[corect]"), 'rewards.0.kind = "corect": is not known. Did you mean correct?'),
        (recipe("[format, {kind: randm}]"), 'rewards.1.kind = "randm": is not known. Did you mean random?'),
        (recipe("[file]"), "rewards.0.path: is missing. Add it: Python file."),
        (recipe("[{weight: 2.0}]"), "rewards.0.kind: is missing. Add one of: correct, "),
        (recipe("[5]"), "rewards.0 = 5: must be a mapping"),
        (recipe("[verdict]"), 'rewards.0.kind = "verdict": needs rows of data.builder verdicts, and these are prompts'),
        (recipe("[majority]", "verdicts"), '"majority": needs rows of data.builder prompts, and these are verdicts'),
        (recipe("[correct, incorrect]", students=""), "data.students = []: the reward incorrect takes its label from"),
        (recipe("[{kind: format, weight: 0}]"), "rewards.0.weight = 0.0: makes the reward count for nothing"),
        (recipe("[format, {kind: format, weight: 2}]"), "rewards.1: is another reward 'format'"),
        (recipe("[format, {kind: file, path: a.py, function: format}]"), "Name the function of one otherwise"),
        (recipe("[random]", args="steps_per_generation: 7"), "steps_per_generation = 7: 56 completions a generation"),
        (recipe("[constant]"), 'rewards = ["constant"]: all completions get the same reward, so there is nothing'),
    ],
    ids=lambda text: text.partition("rewards")[2][:30],
)
def test_a_fault_of_rewards_names_key_value_and_fix(write_recipe, given: str, said: str) -> None:
    with pytest.raises(RecipeError, match="1 fault\n") as caught:
        load_recipe(write_recipe(given))
    assert said in str(caught.value)


def test_rewards_that_can_teach_are_taken(write_recipe) -> None:
    for given in (
        recipe("[correct, format, random, {kind: python, weight: -1}]", students=""),
        recipe("[majority, incorrect]"),
        recipe("[verdict, correct, format]", "verdicts"),
        recipe("[constant]", args="entropy_coef: -0.1"),
    ):
        assert load_recipe(write_recipe(given)).train.rewards[0].weight == 1.0
