"""What a training on the model's own completions is watched for: a lost night shows in its first steps, and is said.

All is read off the log, which a checkpoint keeps: a training that goes on is watched as if it had never stopped.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from transformers import TrainerCallback

from cft.errors import TrainError
from cft.terminal import Terminal, Text

SAID, ENDED = 3, 10  # generations in a row without a signal: when it is said, and when training ends
HIGH_KL, LOST_KL = 1.0, 10.0  # nats a token from the base: a text of another kind; none that the base would write
EQUAL, CUT = "frac_reward_zero_std", "completions/clipped_ratio"  # TRL's names; of a step that began with a generation


def streak(log: Sequence[dict[str, Any]], key: str) -> int:
    """In how many of the last generations a share was 1; steps on an earlier generation have no such share."""
    return len(list(takewhile(lambda row: row[key] == 1, (row for row in reversed(log) if key in row))))


class WatchRollouts(TrainerCallback):
    """Says what keeps a training from learning, once each time, and ends one that is lost.

    Raises:
        TrainError: all rewards were equal in ENDED generations in a row, and it is not that the model has learnt them;
            or the model is more than LOST_KL from its base. The checkpoints stay.
    """

    def __init__(self, console: Terminal) -> None:
        self.console = console

    def on_log(self, args, state, control, logs=None, **kwargs):
        log = state.log_history
        if EQUAL in logs:
            self._watch_rewards(args, state.global_step, log)
        if CUT in logs and streak(log, CUT) == SAID:
            limit = f"train.args.max_completion_length={args.max_completion_length}"
            self._say(state.global_step, f"all completions of {SAID} generations in a row were cut off. Raise {limit}")
        if logs.get("kl") is not None:
            before = next((row["kl"] for row in log[-2::-1] if row.get("kl") is not None), 0.0)
            self._watch_kl(args, state.global_step, logs["kl"], before)

    def _watch_rewards(self, args, step: int, log: list[dict[str, Any]]) -> None:
        count, rewards = streak(log, EQUAL), [row["reward"] for row in log if row.get("reward") is not None]
        if count not in (SAID, ENDED) or not rewards:
            return
        equal = f"all rewards of a group were equal in {count} generations in a row, {rewards[-1]:.3g} on average"
        others = any(getattr(args, key, 0) for key in ("entropy_coef", "use_adaptive_entropy", "beta"))
        learnt = min(rewards) < max(rewards) == rewards[-1]
        if others or learnt:
            what = "only entropy and KL train" if others else "it is learnt, and nothing more will be"
            fix = "" if others else ". More to learn: a harder problem, or train.args.entropy_coef=0.001"
            if count == SAID:
                self._say(step, f"{equal}: {what}{fix}")
        elif count == SAID:
            self._say(step, f"{equal}: nothing is learnt from them. After {ENDED} of them training ends")
        else:
            raise TrainError(
                f"step {step}: {equal}, so nothing is learnt (the first step had {rewards[0]:.3g}). If it fell, lower "
                f"train.args.learning_rate, which is {args.learning_rate:g}; else take a problem that the model solves "
                "in 30 to 70 % of tries, or raise train.args.num_generations, which is "
                f"{args.num_generations}. The checkpoints and train/rollouts stay."
            )

    def _watch_kl(self, args, step: int, kl: float, before: float) -> None:
        far = f"the model is {kl:.3g} nats a token from its base (KL)"
        fix = f"Lower train.args.learning_rate={args.learning_rate:g}, or raise train.args.beta={args.beta:g}"
        if kl > LOST_KL:
            raise TrainError(f"step {step}: {far}, and no longer writes what it would. {fix}. The checkpoints stay.")
        if before <= HIGH_KL < kl:
            self._say(step, f"{far}. {fix}")

    def _say(self, step: int, words: str) -> None:
        self.console.print(Text.assemble((f"step {step}: ", "yellow"), f"{words}."))
