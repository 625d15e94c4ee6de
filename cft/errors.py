"""The errors that are the user's to fix. The command line prints them without a traceback and exits 2.

A message names the fault, the value at fault, and the next thing to do. Anything that is not a
`CFTError` is a bug: it keeps its traceback and exits 1.
"""

import errno
import re

# What a library may raise over input that it was given: caught where a library is handed a user's file or settings,
# and nowhere around code of our own.
LIBRARY_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    re.error,
)

FULL = (errno.ENOSPC, errno.EDQUOT)
# What a disk, its permissions or the machine's limits refuse. Other errors of a file may be bugs.
REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EFBIG, errno.ETXTBSY),
)


class CFTError(Exception):
    """Root of every error that the user's input caused."""


class RecipeError(CFTError, ValueError):
    """A recipe, or an override of it, cannot be used."""


class ModelError(CFTError, ValueError):
    """A model cannot be found, fetched, verified or loaded."""


class DataError(CFTError, ValueError):
    """A problem, critique or example file is missing or damaged, or leaves nothing to train on."""


class RunError(CFTError, RuntimeError):
    """A run folder is locked, damaged, lacks an earlier stage, or cannot be written."""


class TrainError(CFTError, RuntimeError):
    """Training cannot start or go on with these rows, this model or this memory."""


class EvalError(CFTError, RuntimeError):
    """A task, an adapter or an evaluation data file cannot be used."""


class ConfinementError(CFTError, RuntimeError):
    """No program may run here, as nothing confines it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what is done is kept, and the same command goes on from there."""


def fault_of_the_machine(error: OSError) -> str | None:
    """The message for what the user can mend about a file or the machine; None: it may be a bug."""
    where = error.filename or "the run folder, the cache or standard output"
    if error.errno in FULL:
        return f"{where}: the disk is full. What is done is kept: free some space and give the same command."
    if error.errno in REFUSED:
        fix = "Correct it, or choose another place with --runs or CFT_CACHE; then the same command goes on"
        return f"{where}: {error.strerror}. What is done is kept. {fix}."
    return None
