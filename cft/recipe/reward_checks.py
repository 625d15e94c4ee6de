"""What must hold between the rewards of a recipe, and between them and the rows that they judge."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cft.recipe.faults import Fault

if TYPE_CHECKING:
    from cft.recipe.blocks import DataBlock
    from cft.recipe.blocks.train import GrpoTrain

ROWS = {"majority": "prompts", "incorrect": "prompts", "verdict": "verdicts"}  # data.builder that makes the label


def reward_faults(data: "DataBlock | None", train: "GrpoTrain") -> Iterator[Fault]:
    """The faults of `train.rewards`. `data` is None where it could not be read; labels are not checked then.

    The other kinds fit rows of both builders: the critique prompt too asks for the answer in a box.
    """
    key = ("train", "rewards")
    names = [reward.function if reward.kind == "file" else reward.kind for reward in train.rewards]
    for i, reward in enumerate(train.rewards):
        builder = ROWS.get(reward.kind)
        if builder and data and data.builder in ROWS.values():
            if data.builder != builder:
                fault = f"needs rows of data.builder {builder}, and these are {data.builder}"
                yield Fault((*key, i, "kind"), fault, "Set data.builder, or choose another reward", reward.kind)
            elif not data.students:
                fault = f"the reward {reward.kind} takes its label from the answers of students, and there are none"
                yield Fault(("data", "students"), fault, "Add {samples: 64}", [])
        if not reward.weight or not math.isfinite(reward.weight):
            fix = "Give it a weight, or leave the reward out"
            yield Fault((*key, i, "weight"), "makes the reward count for nothing", fix, reward.weight)
        if names[i] in names[:i]:
            fix = "Name the function of one otherwise" if reward.kind == "file" else "Leave one of them out"
            yield Fault((*key, i), f"is another reward {names[i]!r}; their values could not be told apart", fix)
    entropy = train.args.get("entropy_coef") or train.args.get("use_adaptive_entropy")
    if set(names) == {"constant"} and not entropy:
        fault = "all completions get the same reward, so there is nothing to learn"
        yield Fault(key, fault, "Add another reward, or set train.args.entropy_coef to train by entropy alone", names)
