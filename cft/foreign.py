"""Files that others wrote: one guarded reader a format. Whatever a reader raises becomes one error with file and place.

The readers open nothing but ordinary files of bounded size, so that no pipe, device or folder stops the program. They
refuse what our own code could not go on with: half a surrogate pair, NaN, numbers of hundreds of digits, deep nesting.
What is then done with the values is not guarded: a traceback of ours stays one.
"""

import codecs
import functools
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from cft.errors import CFTError, DataError, ModelError

MOST_BYTES = 1 << 30  # of a file that is read whole
MOST_DIGITS = 40  # of a whole number; int() refuses 4,300, a float holds 17
LONG = re.compile(rf"\d{{{MOST_DIGITS + 1}}}")
DEEPEST = 64  # lists and mappings within each other

KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def user_path(text: str | Path, error: type[CFTError] = DataError) -> Path:
    """The path that a user wrote, `~` expanded, whether or not something is there.

    Raises:
        CFTError: of the class `error`: no system could have it (a name of 300 characters, a NUL, `~nobody`).
    """
    try:
        path = Path(text).expanduser()
        os.stat(path)
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as fault:  # RuntimeError: no home folder; ValueError: a NUL
        said = getattr(fault, "strerror", None) or fault
        raise error(f"{str(text)!r:.120}: cannot be used as a path ({said}). Correct it.") from None
    return path


@contextmanager
def open_file(path: Path, error: type[CFTError] = DataError) -> Iterator[BinaryIO]:
    """Open an ordinary file to be read.

    Raises:
        FileNotFoundError: there is none.
        CFTError: of the class `error`: it is a folder, a pipe or a device, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe that nobody writes to would wait for ever
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise _unreadable(path, fault, error) from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise error(f"{path}: is a {KINDS.get(kind, 'socket')}, not a file. Name a file.")
    with open(descriptor, "rb") as file:
        yield file


def read_bytes(path: Path, error: type[CFTError] = DataError, most: int = MOST_BYTES) -> bytes:
    """The bytes of an ordinary file. Errors as in `open_file`, and `error` for a file of more than `most` bytes."""
    with open_file(path, error) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise error(f"{path}: has more than {most:,} bytes, too many for such a file. Check the path.")
        try:
            return file.read()
        except OSError as fault:  # a disk that fails
            raise _unreadable(path, fault, error) from None


def _unreadable(path: Path, fault: Exception, error: type[CFTError]) -> CFTError:
    said = getattr(fault, "strerror", None) or fault
    return error(f"{path}: cannot be read ({said}). Check the path and its permissions.")


def read_text(path: Path, error: type[CFTError] = DataError, most: int = MOST_BYTES) -> str:
    """The text of an ordinary file in UTF-8, without a byte order mark. Errors as in `read_bytes`; missing: `error`."""
    try:
        return decoded(read_bytes(path, error, most))
    except FileNotFoundError:
        raise error(f"{path}: cannot be read, there is no such file. Check the path.") from None
    except UnicodeError as fault:
        raise error(f"{path}: {fault}.") from None


def decoded(data: bytes) -> str:
    """UTF-8 as text, without a byte order mark. Raises UnicodeError in words."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnicodeError("is UTF-16. Save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise UnicodeError(f"is not UTF-8 (line {line}, byte {fault.start}). Save the file as UTF-8") from None


def parse_json(text: str, *, exact: bool = True) -> Any:
    """The value of a JSON text. Raises ValueError, in words without the file: a fault, where, and the fix.

    `exact=False` takes what Python's own reader does: NaN, Infinity, half a surrogate pair.
    """
    how = {"parse_float": _finite, "parse_constant": _constant} if exact else {}
    how |= {"parse_int": _integer} if LONG.search(text) else {}  # which takes three times as long
    try:
        value = json.loads(text, **how)
        _check_depth(value, DEEPEST)
    except json.JSONDecodeError as fault:
        line = f"line {fault.lineno}, " if "\n" in text.strip() else ""
        fix = "; a backslash of LaTeX is written \\\\" if "escape" in fault.msg else ""
        raise ValueError(f"is not JSON, {fault.msg} at {line}column {fault.colno}{fix}") from None
    except RecursionError:
        _deep()
    if exact and re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as fault:
            half = f"\\u{ord(fault.object[fault.start]):04x}"
            raise ValueError(f"holds {half}, half of a character, as a cut text leaves it; remove it") from None
    return value


def tensor_shapes(path: Path, error: type[CFTError] = ModelError) -> dict[str, list[int]]:
    """Name -> shape of the tensors in a safetensors file, by its header, which must fit the file's length.

    Raises:
        CFTError: of the class `error`: no ordinary file, a damaged header, or a file that is cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_file(path, error), safe_open(str(path), framework="np") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 it is no mapping
    except (SafetensorError, FileNotFoundError, OverflowError) as fault:
        raise error(f"{path}: is no whole safetensors file ({fault}). Get it again.") from None


def check_shape(value: dict[str, Any], shape: Mapping[str, Any]) -> None:
    """Raise ValueError, in words, unless all keys of `shape` (see `cft.files.read_json`) have values of its types."""
    if not shape:
        return
    from pydantic import ValidationError

    try:
        _validator(tuple(shape.items())).validate_python(value)
    except ValidationError as fault:
        said = [f"{'.'.join(map(str, e['loc']))}: {_words(e)}" for e in fault.errors(include_url=False)]
        raise ValueError("; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else "")) from None


def _words(error: Mapping[str, Any]) -> str:
    missing = error["type"] == "missing"
    return "is missing" if missing else f"is {error['input']!r:.60}, {error['msg'][0].lower()}{error['msg'][1:]}"


@functools.cache
def _validator(shape: tuple[tuple[str, Any], ...]) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import TypedDict

    wanted = TypedDict("wanted", dict(shape))  # noqa: UP013 the keys are not known here
    wanted.__pydantic_config__ = ConfigDict(extra="allow", strict=True)
    return TypeAdapter(wanted)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"holds a whole number of {len(digits)} digits, more than {MOST_DIGITS}; put it in quotes")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _constant(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name:.40}, which is no number in JSON; write a finite number, or null")


def _check_depth(value: Any, left: int) -> None:
    if not left:
        _deep()
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(part, dict | list):
            _check_depth(part, left - 1)


def _deep() -> NoReturn:
    raise ValueError(f"is nested too deeply; lists and objects stand in each other at most {DEEPEST} deep") from None
