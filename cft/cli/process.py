"""A command as a process: what it imports, how it ends, and which errors become a message.

Exit codes: 0 done, 2 the user's input is at fault, 130 interrupted, 143 terminated, 141 nobody reads on, 1 a bug.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cft.cli.common import answer, out, progress
from cft.devices import share_cores
from cft.errors import CFTError, Terminated, fault_of_the_machine
from cft.memory import reuse_freed_memory
from cft.terminal import Text, accept_all_characters


def run_program(app: Callable[[], None], *, computing: bool) -> None:
    """Do what the arguments say, and end with the exit code of how it went. `computing`: it will load a model."""
    if computing:
        share_cores()
        reuse_freed_memory()
        # train.args.full_determinism wants it of a GPU, from before the first matrix product of the process
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # What torch cannot compute on an Apple GPU it then computes on the CPU; it looks when it is loaded
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    accept_all_characters()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        stay_out_of_the_working_folder()
        check_arguments()
        try:
            app()
        finally:
            out.file.flush()
    except CFTError as error:
        fail(str(error))
    except SystemExit as end:
        stop = getattr(end.__context__, "__cause__", None)  # typer makes Exit(130) of every KeyboardInterrupt
        if isinstance(end.__context__, BrokenPipeError):
            nobody_reads()
        if not isinstance(stop, KeyboardInterrupt):
            raise
        progress.print("\nStopped. What is done is kept: the same command goes on from here.")
        sys.exit(143 if isinstance(stop, Terminated) else 130)
    except BrokenPipeError:
        nobody_reads()
    except OSError as error:
        if (fault := fault_of_the_machine(error)) is None:
            raise
        fail(fault)


def _terminate(number, frame) -> None:
    raise Terminated  # schedulers send SIGTERM before they kill: stop as Ctrl-C does


def check_arguments() -> None:
    """Raise CFTError if an argument is not UTF-8: no recipe, ledger or report could hold it."""
    for number, text in enumerate(sys.argv[1:], 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            fix = "Rename the file, or give the text in a file"
            raise CFTError(f"argument {number}, {text}: is not UTF-8. {fix}.") from None


def stay_out_of_the_working_folder() -> None:
    """Neither this process nor a Python that it starts, nor one that a library starts, imports what lies there."""
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise CFTError("the folder that this command was given in is gone. Change to one that is there.") from None
    if not sys.flags.safe_path and sys.path[0] in ("", here) and Path(here) != Path(__file__).parents[2]:
        del sys.path[0]  # which `python -m` put there


def fail(message: str) -> None:
    """One clear message on standard error (and as JSON on standard output if asked for), exit code 2."""
    try:
        if "--json" in sys.argv:
            answer({"error": message}, True)
        out.file.flush()
    except OSError:  # a full disk
        drop_output(1)
    try:
        progress.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)
    except BrokenPipeError:
        nobody_reads()
    sys.exit(2)


def nobody_reads() -> None:
    """End as SIGPIPE ends a program, without a word: `cft ... | head` has read enough."""
    drop_output(1, 2)
    sys.exit(128 + signal.SIGPIPE)


def drop_output(*streams: int) -> None:
    """What is left in the buffers goes nowhere, so that the interpreter's own end does not fail with it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nothing, stream)
