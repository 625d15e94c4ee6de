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
SESSIONS = {"claude_code": agents.claude_code, "codex": agents.codex}  # a file is one session
CONVERTERS: dict[str, Callable[[dict, list[str]], dict]] = {  # a record is a row
    **dict.fromkeys(("openai", "sharegpt", "hermes", "toolace", "smolagents", "minimind"), chat.conversation),
    **{"glaive": chat.glaive, "xlam": chat.xlam, "bfcl": chat.bfcl, "verifiers": chat.verifiers, "limi": chat.limi},
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
        for line, found, notes in SESSIONS[known](
            records, lambda why, line: report.add("ignored", why, f"{name}:{line}")
        ):
            if isinstance(found, RecordError):
                report.add("refused", str(found), f"{name}:{line}")
            else:
                yield f"{name}:{line}", found, notes
        if found is None:
            report.add("refused", "a session without a message", name)
        return
    for line, record in records:
        fitting = [kind for kind in formats(record) if kind in CONVERTERS]
        if wanted != "auto":
            fitting = [wanted] if CONVERTERS[wanted] in map(CONVERTERS.get, fitting) else []
        notes: list[str] = []
        try:
            if not fitting:
                raise RecordError("its format is not known, or not data.format")
            report.counts["read"][fitting[0]] += 1
            yield f"{name}:{line}", CONVERTERS[fitting[0]](record, notes), notes
        except RecordError as fault:
            report.add("refused", str(fault), f"{name}:{line}")


def formats(record: dict) -> list[str]:
    """The formats that a record may be of by its keys, the likeliest first."""
    keys, kind = record.keys(), record.get("type")
    lists = {key for key, value in record.items() if isinstance(value, list)}
    rules = {
        "limi": "events" in lists,
        "verifiers": "nodes" in lists,
        "openai": "messages" in lists or {"prompt", "completion"} <= lists,
        "sharegpt": not lists.isdisjoint(chat.TURNS),
        "xlam": {"query", "answers"} <= keys,
        "bfcl": {"question", "function"} <= keys,
        "glaive": {"system", "chat"} <= keys,
        "codex": (isinstance(record.get("payload"), dict) and isinstance(kind, str))
        or ("role" in keys and kind == "message")
        or record.get("record_type") == "state"
        or {"id", "timestamp", "instructions"} <= keys
        or (isinstance(record.get("session"), dict) and "items" in lists),
        "claude_code": "parentUuid" in keys or {"sessionId", "type"} <= keys or {"leafUuid", "summary"} <= keys,
    }
    return [name for name, fits in rules.items() if fits]


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
