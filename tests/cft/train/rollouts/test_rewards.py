"""What completions earn: each rule, chance, and functions of the user's that do all that they should not."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from cft.errors import TrainError
from cft.pipeline import run_stages
from cft.recipe.blocks import Recipe
from cft.recipe.blocks.train import Reward
from cft.train.rollouts.rewards import reward_functions
from data_builders.prompts import CRITIQUE_PROMPT, SOLVE_PROMPT

DEFINED = "def reward(completions, **columns):\n    "


def function_of(*, seed: int = 0, **block):
    (function,) = reward_functions([TypeAdapter(Reward).validate_python(block)], seed)
    return function


def earned(function, texts: list[str], step: int = 0, prompt: str = SOLVE_PROMPT, **columns) -> list[float]:
    """What TRL gets from a reward function."""
    return function(
        prompts=[[{"role": "user", "content": prompt}]] * len(texts),
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[1, 2]] * len(texts),
        trainer_state=SimpleNamespace(global_step=step),
        log_metric=print,
        id=[f"row{i}" for i in range(len(texts))],
        **{name: [value] * len(texts) for name, value in columns.items()},
    )


BOXES = {"answer": "12", "incorrect": "14", "majority": "14"}


@pytest.mark.parametrize(
    ("kind", "columns", "rewarded", "unrewarded"),
    [
        ("correct", BOXES, r"So \boxed{\frac{24}{2}}.", r"\boxed{12}, no: \boxed{14}"),
        ("correct", BOXES, r"\boxed{12} and then it goes on \boxed{1", r"12, so \boxed{12"),  # the token limit
        ("incorrect", BOXES, r"\boxed{14.0}", r"\boxed{12}"),
        ("majority", BOXES, r"\boxed{14}", "14"),
        ("format", {}, r"\boxed{anything}", r"\boxed{ }"),
        ("format", {}, r"<think>\boxed{}</think> \boxed{x}", r"<think>\boxed{5}</think> 5"),
        ("python", {}, "```Python\nprint(1)```", "print(1)"),
        ("verdict", {"correct": True}, "12 is right. The solution is correct.", "The solution is incorrect."),
        ("verdict", {"correct": False}, "Conclusion: wrong", "Step 2 is wrong, as 3 + 4 = 7."),
        ("verdict", {"correct": False}, "The answer is wrong.", "The answer is correct. So the solution is wrong."),
        ("verdict", {"correct": False}, "This solution is not correct.", r"\boxed{12}"),
    ],
)
def test_a_rule_judges_the_completion_and_never_the_prompt(kind, columns, rewarded, unrewarded) -> None:
    prompt = f"{CRITIQUE_PROMPT} {rewarded}"
    assert earned(function_of(kind=kind), [rewarded, unrewarded, ""], prompt=prompt, **columns) == [1.0, 0.0, 0.0]


def test_a_constant_reward_is_one_and_every_function_has_its_name() -> None:
    rewards = TypeAdapter(list[Reward]).validate_python(["constant", {"kind": "random", "weight": -1.0}, "format"])
    functions = reward_functions(rewards, seed=0)
    assert [function.__name__ for function in functions] == ["constant", "random", "format"]
    assert earned(functions[0], ["", r"\boxed{1}"]) == [1.0, 1.0]


def test_a_row_without_a_label_is_named() -> None:
    with pytest.raises(TrainError, match=r"reward majority: the row row0 has no 'majority'. Add samples"):
        earned(function_of(kind="majority"), [r"\boxed{1}"], majority=None)


def test_random_rewards_are_those_of_an_undisturbed_run_after_a_resume() -> None:
    texts = ["a", "b", "a", ""]
    whole, resumed = function_of(kind="random"), function_of(kind="random")
    drawn = {step: [earned(whole, texts, step) for _ in range(2)] for step in range(20)}
    assert [earned(resumed, texts, 12), earned(resumed, texts, 12)] == drawn[12]


def test_random_rewards_of_equal_completions_are_independent() -> None:
    function = function_of(kind="random", probability=0.3)
    calls = [earned(function, ["same"] * 400, step) for step in (0, 0, 1)]  # two generations of one step, and another
    calls.append(earned(function_of(kind="random", probability=0.3, seed=1), ["same"] * 400))
    assert sum(map(sum, calls)) / 1600 == pytest.approx(0.3, abs=0.046)  # four standard errors, as below
    for call in calls[1:]:
        assert sum(a * b for a, b in zip(calls[0], call, strict=True)) / 400 == pytest.approx(0.09, abs=0.058)


@pytest.fixture
def written(tmp_path: Path):
    """The reward of a file with this text."""
    path = tmp_path / "mine.py"

    def write(text: str, **block):
        if text:
            path.write_text(text)
        return function_of(kind="file", path=str(path), **block)

    return write


SOUND = """
import os, sys
import numpy
def mine(texts, prompts, answer, **columns):
    print("to nobody" * 9999, sys.stdin.read())
    lengths = [len(text + prompt[0]["content"] + a) for text, prompt, a in zip(texts, prompts, answer)]
    return numpy.float32([lengths[0], os.getpid()])
"""


def test_a_users_function_gets_texts_and_columns_in_one_process_of_its_own(written) -> None:
    function = written(SOUND, function="mine")
    assert function.__name__ == "mine"
    first, second = (earned(function, ["ab", "c"], prompt="xyz", answer="1") for _ in range(2))
    assert first == second and first[0] == 6.0 and first[1] != os.getpid()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "import nothing_of_this_name",
            r"its import raised ModuleNotFoundError: No module named .* in line 1",
        ),
        ("x = 1\ndef reward(completions) return", r"its import raised SyntaxError: .* in line 2. Correct it"),
        ("def score(): pass", r"there is no function 'reward', it has score. Define it, or name another"),
        ("import sys; sys.exit(3)", r"its import raised SystemExit: 3 in line 1"),
        (f"{DEFINED}x = 0\n    return 1 / x", r"reward\(\) raised ZeroDivisionError: division by zero in line 3"),
        ("def reward(completions): return [1]", r"unexpected keyword argument 'prompts'. Let it take"),
        (f"{DEFINED}return [1]", r"returned 1 values for 2 completions. Return a list with one number for each"),
        (f"{DEFINED}pass", r"returned None for 2 completions"),
        (f"{DEFINED}return [1, None]", r"returned None for the completion 'second'. Return a finite number"),
        (f"{DEFINED}return [float('nan'), 1]", r"returned nan for the completion 'first'"),
        (f"{DEFINED}return [1, 10.0**39]", r"returned 1e\+39 for the completion 'second'"),  # infinite in float32
        (f"{DEFINED}return ['1', 1]", r"returned '1' for the completion 'first'"),
        (f"{DEFINED}yield 1", r"a generator was returned. Return a list of plain numbers"),
        (f"{DEFINED}exit()", r"reward\(\) raised SystemExit: None in line 2"),
        (f"import os\n{DEFINED}os._exit(7)", r"its process was ended with exit code 7. It may not exit, crash or"),
        (f"import os\n{DEFINED}os.kill(os.getpid(), 11)", r"its process was ended by SIGSEGV"),
        (f"{DEFINED}return [0] * 10**10", r"reward\(\) needs more than 4 GiB of memory. Let it need less"),
        (f"{DEFINED}while True: pass", r"reward\(\) took longer than 0.7 s. Make it faster, or raise its timeout"),
    ],
)
def test_what_is_wrong_with_a_users_function_is_said_with_its_file_and_a_way_out(written, text, words) -> None:
    with pytest.raises(TrainError, match=rf"mine\.py: .*{words}"):
        earned(written(text, timeout=0.7), ["first", "second"])


def test_a_file_that_cannot_be_used_is_told_before_data_is_made(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nothing_of_this_name")
    data = {"builder": "prompts", "problems": ["bakery"], "students": [{"samples": 64}]}
    train = {"method": "grpo", "rewards": [{"kind": "file", "path": str(tmp_path / "mine.py")}]}
    recipe = {"name": "a", "model": {"id": "nowhere"}, "data": data, "train": train, "eval": {"tasks": ["cft_math500"]}}
    with pytest.raises(TrainError, match=r"mine\.py: its import raised ModuleNotFoundError"):
        run_stages(Recipe.model_validate(recipe), tmp_path, Console(quiet=True), ["data", "train"])


def test_a_training_that_is_killed_leaves_no_process_of_the_users_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"import os\n{DEFINED}return [os.getpid()]")
    program = (
        "import pathlib, time; from cft.sandbox import Sandbox\n"
        f"box = Sandbox(pathlib.Path({str(file)!r}), 'reward', 9)\n"
        "print(*box.call(['a']), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    until = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)
