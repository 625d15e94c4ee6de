"""The user's cache folder, and answers in it that take seconds to work out and stay true until something changes."""

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cft.errors import CFTError
from cft.files import content_id, read_json, sha256_folder, write_json
from cft.foreign import user_path


def cache_folder() -> Path:
    """CFT_CACHE, else XDG_CACHE_HOME/cft, else ~/.cache/cft. CFTError where none of them can be told."""
    own, above = os.environ.get("CFT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        path = user_path(own) if own else user_path(above or "~/.cache") / "cft"
    except CFTError as error:
        raise CFTError(f"the cache folder: {error} Set CFT_CACHE to a folder that can be written.") from None
    return path.absolute()


def remembered(name: str, question: Any, find: Callable[[], Any]) -> Any:
    """What `find` returns, or what it returned to the same question before, with the same libraries and the same code.

    A record that is damaged or cannot be written is as good as none. Question and answer are JSON values.
    """
    file = f"{content_id(question, _surroundings(tuple(sys.path)), length=32)}.json"
    with contextlib.suppress(CFTError, LookupError, TypeError):
        return read_json(cache_folder() / name / file)["answer"]
    answer = find()
    with contextlib.suppress(CFTError, OSError):
        write_json(cache_folder() / name / file, {"answer": answer})
    return answer


@functools.cache
def _surroundings(path: tuple[str, ...]) -> list[str]:
    """Python, the names and versions of all distributions in the folders of `path`, and our own code."""
    installed = sorted(info.name for folder in path for info in Path(folder).glob("*.dist-info"))
    return [platform.python_version(), *installed, sha256_folder(Path(__file__).parent, "*.py")]
