"""Calls to language models: what is asked, what came back, and the ledger that makes sure nothing is asked twice.

A ledger is a JSON Lines file of one row a call, appended as the answers come. What is still owed is what the plan asks
for and the ledger has no answer to, so a run that stops anywhere loses at most the calls that were in flight.
"""

import glob
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, NotRequired, Protocol, Self

from filelock import FileLock, Timeout
from pydantic import NonNegativeFloat, NonNegativeInt

from cft.errors import DataError
from cft.files import content_id, dump_jsonl, listed, parse_jsonl, read_own_jsonl, write_jsonl
from cft.foreign import check_shape

# What an answer may be. All of these were paid for, so none is asked for again.
Status = Literal["ok", "truncated", "refused", "empty"]
KEPT = {  # what the row of an answered call must hold to be used
    **dict.fromkeys(("key", "model", "text", "finish_reason", "prompt_sha256"), str),
    **dict.fromkeys(("input_tokens", "output_tokens"), NonNegativeInt | None),
    "status": Status,
    "cost_usd": NonNegativeFloat | None,
    "estimated": NotRequired[bool],
}
SYNC_SECONDS = 1.0  # a power cut loses at most the rows of so long; a kill loses none
BYTES_PER_TOKEN = 2.5  # fewer than in any usual text, so that an estimate is not too small
TEMPLATE_TOKENS = 20  # what a chat template adds to a prompt


def tokens_at_most(text: str) -> int:
    """How many tokens a text has where nobody says it: an estimate on the safe side."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Call:
    """One sample to ask of one model. Two calls with the same key are the same call."""

    model: str
    messages: list[dict[str, str]]
    sampling: dict  # temperature, top_p, max_tokens ..., under the names of the chat completions API
    template: str  # "name@version" of the template that wrote the messages
    sample: int  # which of several samples of the same messages
    seed: int = 0  # the recipe's seed

    @cached_property
    def key(self) -> str:
        return content_id(self.messages, self.model, self.sampling, self.template, self.sample, self.seed, length=16)

    @property
    def characters(self) -> int:
        return sum(len(message["content"]) for message in self.messages)

    @property
    def tokens_at_most(self) -> int:
        """Those of the prompt, estimated on the safe side."""
        return tokens_at_most("".join(message["content"] for message in self.messages)) + TEMPLATE_TOKENS


@dataclass(frozen=True)
class Answer:
    """What a model answered to a call."""

    text: str
    status: Status
    finish_reason: str
    served_model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    attempts: int = 1
    estimated: bool = False  # whether a number of tokens is ours, as the server told none that can be


@dataclass(frozen=True)
class Price:
    """USD for a million tokens."""

    input: float
    output: float

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


class Backend(Protocol):
    """Answers calls: an endpoint, batch files, or a model in this process."""

    host: str  # without any key
    price: Price | None  # None: not known

    def answer(self, calls: Sequence[Call], ledger: "Ledger") -> None:
        """Answer those of the planned `calls` that the ledger owes, adding each to it as soon as it is there.

        Raises:
            CFTError: for what the user can fix. Calls that failed are left owed.
        """


@dataclass
class Ledger:
    """The answers that are there, on disk and in memory. Use it as a context manager: it is locked while it is open.

    Raises:
        DataError: when another process has it open, or for damaged lines. What a kill left of the last one is cut off.
    """

    path: Path
    on_answer: Callable[[dict], None] | None = None
    rows: dict[str, dict] = field(default_factory=dict, init=False)  # the answered calls, by key

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise DataError(
                f"{self.path}: another process is asking this model. Wait for it, or stop it; it can go on later."
            ) from None
        try:
            for litter in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):  # of a killed process
                litter.unlink(missing_ok=True)
            self._read()
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with suppress(OSError):  # another user's file, or a disk without modes
                self.path.chmod(0o600)
        except BaseException:
            self._unlock()
            raise
        self._synced = time.monotonic()
        return self

    def _unlock(self) -> None:
        with suppress(OSError):  # an open file cannot be removed on Windows
            Path(self._lock.lock_file).unlink()  # while it is held: who waits for it looks for the file again
        self._lock.release()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.fsync(self._file)
        os.close(self._file)
        self._unlock()

    def owed(self, calls: Iterable[Call]) -> list[Call]:
        """The calls that have no answer yet, each once."""
        return list({call.key: call for call in calls if call.key not in self.rows}.values())

    def add(self, call: Call, answer: Answer, backend: Backend) -> None:
        """Append an answer. A key that is there already is left as it is."""
        if call.key not in self.rows:
            self.rows[call.key] = self._append(_row(call, answer, backend))
            if self.on_answer:
                self.on_answer(self.rows[call.key])

    def add_failure(self, call: Call, fault: str, attempts: int, backend: Backend) -> None:
        """Append a note that a call was given up. It stays owed."""
        row = {"key": call.key, "status": "failed", "fault": fault, "attempts": attempts, "host": backend.host}
        self._append(row | {"model": call.model, "time": _now()})

    def _append(self, row: dict) -> dict:
        data = dump_jsonl([row]).encode()
        while data:  # a disk that fills up may take a part
            data = data[os.write(self._file, data) :]
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._file)
            self._synced = time.monotonic()
        return row

    def _read(self) -> None:
        """Read the file; write it again, without failures and repeated keys, when a good part of it is such."""
        lines = read_own_jsonl(self.path)
        self.rows = _answered(enumerate(lines, 1), self.path)
        if len(lines) - len(self.rows) > max(100, len(self.rows)):
            write_jsonl(self.path, self.rows.values())


def _answered(lines: Iterable[tuple[int, dict]], path: Path) -> dict[str, dict]:
    """The answered calls by key, of numbered lines; of a key that is there twice, the first."""
    rows: dict[str, dict] = {}
    faults = []
    for number, row in lines:
        if row.get("status") == "failed":
            continue
        try:
            check_shape(row, KEPT)
        except ValueError as fault:
            faults.append(f"line {number}: {fault}")
        else:
            rows.setdefault(row["key"], row)
    if faults:
        fix = "Correct them (an unknown number is null), or delete them: their calls are then asked again."
        raise DataError(f"{path}: {len(faults)} damaged line(s)\n  {listed(faults)}\n{fix}")
    return rows


def read_ledger(path: Path) -> dict[str, dict]:
    """The answered calls of a ledger, by key, without locking or changing it; another process may be writing to it."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    return _answered(parse_jsonl(data[: data.rfind(b"\n") + 1], path), path)


def ledger_path(folder: Path, model: str) -> Path:
    """The ledger of a model. Names that differ only in characters that no file name can have get different files."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[-80:]
    return folder / f"{plain or 'model'}{'' if plain == model else '-' + content_id(model, length=6)}.jsonl"


def cost_of(rows: Iterable[dict]) -> float | None:
    """What the rows cost in USD; None when the price or the usage of one is not known."""
    costs = [row["cost_usd"] for row in rows]
    return None if None in costs else round(sum(costs), 6)


def _row(call: Call, answer: Answer, backend: Backend) -> dict:
    price, used = backend.price, (answer.input_tokens, answer.output_tokens)
    known = price is not None and (None not in used or price == Price(0, 0))
    row = {key: getattr(call, key) for key in ("key", "model", "template", "sample", "sampling")}
    return row | {
        **vars(answer),
        "host": backend.host,
        "prompt_sha256": content_id(call.messages, length=64),
        "output_sha256": content_id(answer.text, length=64),
        "price_usd_per_million": price and [price.input, price.output],
        "cost_usd": price.cost(*(n or 0 for n in used)) if known else None,
        "time": _now(),
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
