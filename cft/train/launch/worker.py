"""One of several training processes: python -m cft.train.launch.worker JOB.json (see `cft.train.launch.start`)."""

import atexit
import json
import os
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from cft.errors import CFTError, Terminated, TrainError, fault_of_the_machine
from cft.files import write_json
from cft.terminal import Terminal, accept_all_characters

PATIENCE = timedelta(hours=6)  # of processes that wait for each other; the library's is ten minutes on GPUs


def main(job_file: Path) -> NoReturn:
    """Train as the job says, in step with the other processes; what goes wrong is left beside the job file.

    The process ends without the interpreter's own end: a thread of the process group that still wants the interpreter
    would abort the process then, and one that waits for a process that is gone would keep it.
    """
    job = json.loads(job_file.read_text())
    rank = int(os.environ.get("RANK", "0"))
    end_with(job["parent"])
    signal.signal(signal.SIGTERM, _terminate)
    kind, text = None, ""
    try:
        work(job)
    except (CFTError, OSError) as error:
        text = fault_of_the_machine(error) if isinstance(error, OSError) else str(error)
        kind, text = ("fault", text) if text else ("bug", traceback.format_exc())
    except Terminated:
        kind = "terminated"
    except BaseException:
        kind, text = "bug", traceback.format_exc()
    if kind is None:
        atexit._run_exitfuncs()  # a tracker sends its last records here
    else:
        write_json(job_file.with_name(f"error-{rank}.json"), {"kind": kind, "text": text})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if kind is None else 3)


def work(job: dict) -> None:
    """The training itself."""
    from accelerate import PartialState

    from cft.devices import pick_device
    from cft.recipe.blocks import METHODS, Recipe

    # One may have to wait for another that writes a large model, or an answer; of one that is gone the launcher tells
    state = PartialState(cpu=pick_device() == "cpu", timeout=PATIENCE)
    if state.num_processes != job["processes"]:  # else each would train alone, on all rows
        raise TrainError(
            f"{job['processes']} processes were requested, but accelerate made {state.num_processes} of them. Check "
            "the file given to --launch."
        )
    width = None if job["terminal"] else 1000  # the parent wraps
    accept_all_characters()
    console = Terminal(file=sys.stdout, width=width, quiet=not state.is_main_process)
    recipe = Recipe.model_validate(job["recipe"])
    train = METHODS[recipe.train.method].load()
    train(recipe, Path(job["examples"]), Path(job["folder"]), console=console, tracker=job["tracker"])
    state.wait_for_everyone()
    state.destroy_process_group()


def end_with(parent: int) -> None:
    """End this process at once when the launcher, or the process that started it, is gone."""
    import psutil

    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher and psutil.pid_exists(parent):
            time.sleep(0.5)
        os._exit(4)

    threading.Thread(target=watch, daemon=True).start()


def _terminate(number, frame) -> None:
    raise Terminated


if __name__ == "__main__":
    main(Path(sys.argv[1]))
