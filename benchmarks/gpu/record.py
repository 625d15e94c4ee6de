"""What the benchmark of a card was asked, what it keeps of a step, and how a part of a step becomes a result."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import Ended
from cft.files import content_id, read_json, write_json

SHAPE = {"step": str, "of": dict, "parts": dict}


@dataclass(frozen=True)
class Settings:
    """The command's options, and what they come to here."""

    device: str  # cuda or cpu
    model: str  # the name or folder, as given
    location: Path  # the folder of its weights
    data: Path | None  # folder of items
    large: str
    items: int | None  # to answer; None: all
    tokens: int  # of an answer, at most
    seeds: int
    vllm: str | None  # address of a server
    unsloth: Path | None  # a Python that has it
    out: Path
    of: dict[str, Any]  # card, libraries, commit: results of another one are no results of this

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def work(self) -> Path:
        """Folder of run folders and models, which another card or torch does not share."""
        return self.out / "work" / content_id(self.of)

    def place(self, step: str, part: str) -> Path:
        """The folder of what a part writes."""
        return self.work / step / re.sub(r"[^\w.-]+", "-", part)


@dataclass(frozen=True)
class Part:
    """One measurement: a process, and what is read of what it left."""

    name: str
    command: list[str]
    read: Callable[[Ended], dict[str, Any]]  # its key `fault`, if any, says what is wrong with the result
    skip: str = ""  # why it is not measured here
    gb: float = 0.0  # of the card's memory, at least; 0: not known
    seconds: float = 0.0  # that it takes at least
    codes: tuple[int, ...] = (0,)  # exit codes at which there is a result to read
    partly: bool = False  # whether there is one too where the process was cut off
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """What is known of a step; written after each part."""

    path: Path
    step: str
    of: dict[str, Any]
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    #   name -> status (done, failed, cut, skipped), command, why, seconds, result
    seconds: float = 0.0
    skipped: str = ""  # why none of it was tried

    @classmethod
    def read(cls, path: Path, of: dict[str, Any]) -> "tuple[Record, dict[str, Any] | None]":
        """The record in `path`; beside it what it was of, if that is something else than `of` and so begins anew."""
        kept = read_json(path, SHAPE)
        if kept and kept["of"] == of:
            return cls(path, **kept), None
        return cls(path, path.stem, of), kept and kept["of"]

    def write(self) -> None:
        write_json(self.path, {key: value for key, value in asdict(self).items() if key != "path"})

    def done(self, part: Part) -> bool:
        """Whether this part was measured before, by the same command."""
        kept = self.parts.get(part.name, {})
        return kept.get("status") == "done" and kept["command"] == part.command

    def result(self, name: str) -> dict[str, Any] | None:
        """What a part found; None while there is nothing."""
        kept = self.parts.get(name, {})
        return kept.get("result") if kept.get("status") == "done" else None

    @property
    def status(self) -> str:
        """done, or the worst that befell a part."""
        found = {part["status"] for part in self.parts.values()}
        order = ("failed", "cut", "done", "skipped")
        return "skipped" if self.skipped else next((one for one in order if one in found), "skipped")
