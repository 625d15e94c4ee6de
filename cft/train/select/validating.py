"""How validation items are answered in the middle of a training: as the evaluation would, by one process or by several.

Of several processes each has the whole model and answers a part of the batches. A batch's answers depend on its prompts
and the weights only, so they are the same whoever writes them, and the log is that of one process.
"""

from contextlib import suppress
from typing import Any

from cft.files import append_jsonl, read_own_jsonl
from cft.models.generate import Completion
from cft.train.loop import ranks
from eval.answering.batched import BatchedDecoding


class LeftError(Exception):
    """SIGTERM came while the items were asked."""


class ValidationDecoding(BatchedDecoding):
    """Names our own keys in its messages, and shares the batches among the processes."""

    block_name = "train.select"
    workers = property(lambda self: ranks.count())

    def answer(self, prompts: list[str]) -> list[Completion]:
        """As `Batched.answer`, in every process. The log is read and written by the main one, after each round.

        Raises:
            EvalError: as there.
            LeftError: in every process, if `on_progress` raised it in one; the batches that were finished are kept.
        """
        if ranks.count() == 1:
            return super().answer(prompts)
        batches = self.plan(self.prompt_lengths(prompts))
        kept = ranks.on_main(lambda: read_own_jsonl(self.log))
        lines = {tuple(line["batch"]): line for line in kept}
        owed = [batch for batch in batches if tuple(batch) not in lines]
        self.done = sum(map(len, lines))
        for start in range(0, len(owed), ranks.count()):
            parts = ranks.gathered(self._one_batch(prompts, owed[start : start + ranks.count()][ranks.rank() :][:1]))
            new = [line for line, _ in parts if line]
            lines |= {tuple(line["batch"]): line for line in new}
            if ranks.is_main():
                append_jsonl(self.log, new)
            if any(left for _, left in parts):
                raise LeftError
            self.done = sum(map(len, lines))
            others = [line for number, (line, _) in enumerate(parts) if line and number != ranks.rank()]
            with suppress(LeftError):  # it leaves in the next batch; after the last one nothing is owed
                self.on_progress(self.done, sum(row["tokens"] for line in others for row in line["answers"]))
        answers = {i: row for batch in batches for i, row in zip(batch, lines[tuple(batch)]["answers"], strict=True)}
        return [Completion(**answers[i]) for i in range(len(answers))]

    def _one_batch(self, prompts: list[str], mine: list[list[int]]) -> tuple[dict[str, Any] | None, bool]:
        """The log's line for this process's batch, if there is one for it, and whether it left before the end."""
        try:
            return next(({"batch": b} | self._timed([prompts[i] for i in b], b) for b in mine), None), False
        except LeftError:
            return None, True
