"""Before reinforcement learning: is there anything to learn from? What the base does on the rows, in numbers.

A group of completions teaches by its differences: where all its rewards are equal, its gradient is 0. At a pass rate p
the share of groups of N that teach is 1 - p^N - (1-p)^N (Knapsack RL, arXiv 2509.25849); of a reward with more values,
1 minus the sum of the N-th powers of their shares.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from cft.errors import TrainError
from cft.recipe.shipped import by_stem, recipes_folder
from eval.grading import last_box, same_answer_groups

if TYPE_CHECKING:
    from trl import GRPOConfig

    from cft.models.source import ModelSource

ENOUGH = 8  # completions of a row, below which the rows are taken as one
FEW_SIGNALS, MANY_CUT = 0.3, 0.3  # shares of groups, and of completions cut off, that are warned of
TINY_SPREAD = 0.05  # of the rewards of a group: what scale_rewards=group divides by
OTHER_POLICY = 0.05  # mean difference of log-probabilities, in nats
MOST_GENERATIONS = 256
GOALS = {"correct", "verdict"}  # rewards of what is asked
MEDIUM = range(20, 81)  # percent of tries at which a shipped problem is solved that is worth naming


def signal_share(rewards: Sequence[Sequence[float]], group: int) -> float:
    """The expected share of groups of `group` completions whose rewards differ; `rewards` has those of each row."""
    return fmean(1 - sum((count / len(row)) ** group for count in Counter(row).values()) for row in rewards)


def measure(samples: Sequence[dict[str, Any]], group: int) -> dict[str, Any]:
    """What the base did.

    Args:
        samples: rows as in train/rollouts, and "passed": whether it solves its problem, or judges its candidate well.
        group: completions of a group, num_generations.

    Returns:
        `counts`, and "signal": share of groups with a signal, expected; "observed": the same of the groups that the
        samples make, None if they make none; "spread": mean standard deviation of the rewards of those that have a
        signal, None without; "generations": completions of a group at which half of the groups have one, None beyond
        MOST_GENERATIONS; "rows": [{"id", "signal", ...`counts`}]. Where a row has fewer than ENOUGH completions, all
        rows are taken as one, so that "signal" is the most that it can be.
    """
    by_row = defaultdict(list)
    for sample in samples:
        by_row[sample["row"]].append(sample)
    rewards = [[sample["reward"] for sample in row] for row in by_row.values()]
    groups = [row[i : i + group] for row in rewards for i in range(0, len(row) - group + 1, group)]
    if min(map(len, rewards)) < ENOUGH:
        rewards = [[reward for row in rewards for reward in row]]
    spreads = [spread for one in groups if (spread := stdev(one))]
    enough = (n for n in range(2, MOST_GENERATIONS + 1) if signal_share(rewards, n) >= 0.5)
    return counts(samples) | {
        "signal": signal_share(rewards, group),
        "observed": len(spreads) / len(groups) if groups else None,
        "spread": fmean(spreads) if spreads else None,
        "generations": next(enough, None),
        "rows": [
            {"id": name, "signal": signal_share([[sample["reward"] for sample in row]], group)} | counts(row)
            for name, row in by_row.items()
        ],
    }


def counts(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares of the samples, means, and how many answers in boxes the grader holds for different ones."""
    boxes = defaultdict(list)
    for sample in samples:
        boxes[sample["problem"]].append(last_box(sample["text"]))
    return {
        "samples": len(samples),
        "pass_rate": fmean(sample["passed"] for sample in samples),
        "truncated": fmean(sample["finish_reason"] == "length" for sample in samples),
        "empty": fmean(not sample["text"].strip() for sample in samples),
        "distinct_answers": sum(len(set(same_answer_groups(own)) - {None}) for own in boxes.values()),
        "mean_tokens": fmean(sample["tokens"] for sample in samples),
        "rewards": {name: fmean(sample["rewards"][name] for sample in samples) for name in samples[0]["rewards"]},
    }


def told(found: dict[str, Any], args: "GRPOConfig") -> str:
    """What was found, in five lines."""
    rewards = ", ".join(f"{name} {mean:.3g}" for name, mean in found["rewards"].items())
    seen = "" if found["observed"] is None else f", {found['observed']:.0%} of those sampled"
    off = found["sampler_difference"]
    differ = f"{off['mean']:.2g} on average, {off['max']:.2g} at most" if off else "not measured"
    return (
        f"before training: {found['samples']} completions for {len(found['rows'])} prompt(s), {found['pass_rate']:.0%} "
        f"right\n  rewards: {rewards}\n"
        f"  groups of {args.num_generations} with a signal: {found['signal']:.0%} expected{seen}\n"
        f"  {found['mean_tokens']:.0f} tokens, {found['truncated']:.0%} cut off at {args.max_completion_length}, "
        f"{found['empty']:.0%} empty, {found['distinct_answers']} different answers\n"
        f"  log-probabilities of sampler and trainer differ by {differ}"
    )


def check(found: dict[str, Any], args: "GRPOConfig", source: "ModelSource") -> None:
    """Refuse a training that cannot learn.

    Raises:
        TrainError: all completions got one reward, and no entropy trains; or all are cut off, and those are masked.
    """
    n, limit = found["samples"], args.max_completion_length
    teaches = found["signal"] or args.entropy_coef or args.use_adaptive_entropy
    if found["truncated"] == 1 and (args.mask_truncated_completions or not teaches):
        raise TrainError(
            f"all {n} completions were cut off at {limit} tokens, so none can teach. Raise "
            f"train.args.max_completion_length, to {4 * limit} say."
        )
    if teaches:
        return
    rewards = ", ".join(f"{name} {mean:.3g}" for name, mean in found["rewards"].items())
    solved = f"the model is right in {found['pass_rate'] * n:.0f} of {n} tries"
    if found["pass_rate"] in (0, 1) and GOALS & found["rewards"].keys():
        fix = f"Take a problem that it solves in part. {shipped_problems(source)}"
    else:
        fix = "Take a reward that differs between completions, such as correct."
    raise TrainError(
        f"nothing can be learnt: all {n} completions got the same reward ({rewards}); {solved}. {fix} (Or let entropy "
        "train: train.args.entropy_coef.)"
    )


def warnings(found: dict[str, Any], args: "GRPOConfig") -> list[str]:
    """What lets a training learn little, in words of a line each."""
    said, group = [], args.num_generations
    if found["signal"] < FEW_SIGNALS:
        more = f"num_generations={found['generations']} gives half of them one" if found["generations"] else ""
        more = more or ("take other problems" if found["signal"] else "only entropy trains")  # else `check` refuses
        said.append(f"{found['signal']:.0%} of the groups of {group} have a signal; {more}")
    rewards = found["rewards"] if len(found["rewards"]) > 1 and found["signal"] else {}
    said += [
        f"the reward {name} is {mean:g} for all: only others teach" for name, mean in rewards.items() if mean in (0, 1)
    ]
    if found["truncated"] > MANY_CUT:
        limit = f"max_completion_length={args.max_completion_length}"
        said.append(f"{found['truncated']:.0%} of the completions are cut off: raise {limit}")
    if found["spread"] and found["spread"] < TINY_SPREAD and args.scale_rewards == "group":
        said.append(
            f"the rewards of a group differ by {found['spread']:.2g} (standard deviation), and scale_rewards=group "
            "makes that as much as a right answer; set it to batch or none"
        )
    off = found["sampler_difference"]
    if off and off["mean"] > OTHER_POLICY:
        said.append(
            f"log-probabilities of sampler and trainer differ by {off['mean']:.2g} on average: another model is "
            "sampled than is trained; set model.dtype=float32 or another model.attn_implementation"
        )
    return said


def shipped_problems(source: "ModelSource") -> str:
    """The shipped problems that a model was measured to solve in part; their `note` says so."""
    measured = defaultdict(list)
    for name, file in by_stem(recipes_folder() / "problems", ".yaml").items():
        text = " ".join(file.read_text(encoding="utf-8").split())
        for model, share in re.findall(r"([\w.-]+): (\d+) % of \d+ at temperature", text):
            if int(share) in MEDIUM:
                measured[model].append(f"{name} ({share} %)")
    own = source.public_name.rpartition("/")[2]
    model = own if own in measured else next(iter(measured), None)
    known = f"Of the shipped ones {model} solves {', '.join(measured[model])}. " if model else ""
    return f"{known}`cft problems rank POOL --model {source.name}` finds others."
