"""Files of records, a line at a time, so that a log may be longer than memory; and which format a record has."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from cft.foreign import open_file, parse_json, read_bytes
from data_builders.trajectories import agents, chat
from data_builders.trajectories.calls import RecordError, as_list

MOST_LINE = 1 << 26  # bytes; a longer line is refused, not read
PLACES = 5  # of each reason that are told
PEEK = 50  # records by which a session log is known
REPORTED = ("read", "repaired", "refused", "ignored", "masked")
LONG = f"more than {MOST_LINE >> 20} MiB in a line"
BOM = b"\xef\xbb\xbf"
SESSIONS = "codex", "claude_code"  # a file is one session, else a record is a row
# data.format -> what keys of its records hold (a type, or the value itself), in one of these ways, and what reads them;
# the likeliest first
FORMATS: dict[str, tuple[list[dict[str, Any]], Callable]] = {
    "limi": ([{"events": list}], chat.limi),
    "verifiers": ([{"nodes": list}], chat.verifiers),
    "openai": ([{"messages": list}, {"prompt": list, "completion": list}], chat.conversation),
    "sharegpt": ([{key: list} for key in chat.TURNS], chat.conversation),
    **dict.fromkeys(("hermes", "toolace", "smolagents", "minimind"), ([], chat.conversation)),
    "xlam": ([{"query": object, "answers": object}], chat.xlam),
    "bfcl": ([{"question": object, "function": object}], chat.bfcl),
    "glaive": ([{"system": object, "chat": object}], chat.glaive),
    "codex": (
        [
            *({"payload": dict, "type": str}, {"role": object, "type": "message"}, {"record_type": "state"}),
            *({"id": object, "timestamp": object, "instructions": object}, {"session": dict, "items": list}),
        ],
        agents.codex,
    ),
    "claude_code": (
        [{"parentUuid": object}, {"sessionId": object, "type": object}, {"leafUuid": object, "summary": object}],
        agents.claude_code,
    ),
}


@dataclass
class Report:
    """What was read, repaired, refused, passed over and masked, by reason, and where."""

    counts: dict[str, Counter] = field(default_factory=lambda: {kind: Counter() for kind in REPORTED})
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, reason: str, place: str, number: int = 1) -> None:
        self.counts[kind][reason] += number
        places = self.places.setdefault(reason, [])
        if len(places) < PLACES and place not in places:
            places.append(place)

    def summary(self) -> dict[str, dict]:
        """{kind: {reason: n}} of what there was, and {"where": {reason: its first places}}."""
        counts = {kind: dict(sorted((+found).items())) for kind, found in self.counts.items()}
        where = {reason: ", ".join(places) for reason, places in self.places.items()}
        return {kind: found for kind, found in counts.items() if found} | {"where": where}


def conversations(file: Path, name: str, wanted: str, report: Report) -> Iterator[tuple[str, dict, list[str]]]:
    """`(place, trajectory, repairs)` of every conversation in a file; what cannot be converted goes to the report.

    Args:
        name: of the file in the report.
        wanted: a format, or auto.
    """
    records = _records(file, name, report)
    head = list(islice(records, PEEK))
    records = chain(head, records)
    known = next((kind for _, record in head for kind in formats(record)), None) if wanted == "auto" else wanted
    if known in SESSIONS:
        report.counts["read"][known] += 1
        found = None
        for line, found, notes in FORMATS[known][1](records, lambda why, n: report.add("ignored", why, f"{name}:{n}")):
            if isinstance(found, RecordError):
                report.add("refused", str(found), f"{name}:{line}")
            else:
                yield f"{name}:{line}", found, notes
        if found is None:
            report.add("refused", "a session without a message", name)
        return
    for line, record in records:
        fitting = [kind for kind in formats(record) if kind not in SESSIONS]
        if wanted != "auto":
            fitting = [wanted] if FORMATS[wanted][1] in [FORMATS[kind][1] for kind in fitting] else []
        notes: list[str] = []
        try:
            if not fitting:
                raise RecordError("its format is not known, or not data.format")
            report.counts["read"][fitting[0]] += 1
            yield f"{name}:{line}", FORMATS[fitting[0]][1](record, notes), notes
        except RecordError as fault:
            report.add("refused", str(fault), f"{name}:{line}")


def formats(record: dict) -> list[str]:
    """The formats that a record may be of by its keys, the likeliest first."""

    def holds(key: str, wanted: Any) -> bool:
        value = record.get(key)
        return key in record and (isinstance(value, wanted) if isinstance(wanted, type) else value == wanted)

    ways = {name: [all(holds(*item) for item in way.items()) for way in ways] for name, (ways, _) in FORMATS.items()}
    return [name for name, fits in ways.items() if any(fits)]


def _records(file: Path, name: str, report: Report) -> Iterator[tuple[int | str, dict]]:
    """`(line, record)` of JSON Lines, or `("record N", record)` of one document; damaged ones go to the report."""
    with open_file(file) as lines:
        first = next((line for line in iter(lambda: lines.readline(MOST_LINE), b"") if line.strip()), b"")
        first = first.removeprefix(BOM).strip()
        parsed: Iterable[tuple[int | str, Any]] = _lines(lines)
        if file.suffix == ".json" or first.startswith(b"[") or first == b"{":
            with suppress(RecordError):
                parsed = ((f"record {n}", one) for n, one in enumerate(as_list(_value(read_bytes(file))), 1))
        for number, one in parsed:
            try:
                record = _value(one) if isinstance(one, bytes) else one
                if not isinstance(record, dict):
                    raise RecordError("a record that is no object")
            except RecordError as fault:
                report.add("refused", str(fault), f"{name}:{number}")
            else:
                yield number, record


def _lines(lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """`(line, bytes)` of each line that is not empty, of a long one its beginning."""
    lines.seek(0)
    number = 0
    while line := lines.readline(MOST_LINE):
        number += 1
        if line.strip():
            yield number, line
        while line and not line.endswith(b"\n"):
            line = lines.readline(MOST_LINE)


def _value(data: bytes) -> Any:
    if len(data) == MOST_LINE and not data.endswith(b"\n"):
        raise RecordError(LONG)
    try:
        return parse_json(data.removeprefix(BOM).decode("utf-8"))
    except UnicodeDecodeError:
        raise RecordError("not UTF-8") from None
    except ValueError:
        raise RecordError("not JSON") from None
