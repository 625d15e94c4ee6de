"""What several benchmarks need: a process with its memory and time, the machine, and the table of rounds."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from cft.files import write_json
from cft.gpus import Gpu, nvidia_gpus
from cft.runs import git_commit, versions

REPOSITORY = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

console = Console(stderr=True)


@dataclass(frozen=True)
class Finished:
    """A process that ended well."""

    output: str  # standard output
    seconds: float  # from its start to its end
    peak_memory_mb: int  # MB resident: the largest of the process and of those it waited for


def python_path() -> str:
    """PYTHONPATH with which a process imports this checkout, from whatever folder."""
    return os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))


def run_process(command: list[str], folder: Path, threads: int) -> Finished:
    """Run `command` in the repository and wait for it.

    A process starts with the peak memory of the one that started it, so nothing here imports torch.

    Args:
        folder: for its output and for the caches of `datasets`, so that no run finds those of another.
        threads: of one operation, as OMP_NUM_THREADS.

    Raises:
        SystemExit: it failed; the message ends with the end of its standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "PYTHONPATH": python_path(),
    }
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    start = time.perf_counter()
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | environment, stdout=stdout, stderr=stderr)
        try:
            _, status, usage = os.wait4(process.pid, 0)  # unlike RUSAGE_CHILDREN, of this process only
        except BaseException:
            process.kill()
            process.wait()
            raise
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = err.read_text(errors="replace")[-3000:]
        raise SystemExit(f"{tail}\nexit status {process.returncode} of: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return Finished(out.read_text(errors="replace"), round(seconds, 1), round(usage.ru_maxrss * unit / 1e6))


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many other processes compute without end while this lasts: a browser, a build, another training."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_cft(arguments: list[str], runs: Path, folder: Path, threads: int) -> Finished:
    """Run a `cft` command on the run folders in `runs`; `folder` is for its output."""
    command = [sys.executable, "-m", "cft.cli.main", *arguments, "--runs", str(runs), "--json"]
    return run_process(command, folder, threads)


def model_folder(model: str, folder: Path) -> str:
    """The folder of a name in `cft models` (fetched if it is not there), or of a folder."""
    if Path(model).is_dir():
        return str(Path(model).resolve())
    command = [sys.executable, "-m", "cft.cli.main", "models", "path", model]
    return "".join(run_process(command, folder, 1).output.splitlines())


def visible_card() -> tuple[str, Gpu | None]:
    """The number of the first card that this process may use, and what nvidia-smi says of it, if anything."""
    number, gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0], nvidia_gpus()
    return number, gpus[int(number)] if number.isdigit() and int(number) < len(gpus) else None


def machine(threads: int) -> dict[str, Any]:
    """Where and when it is measured."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": CORES,
        "threads": threads,
        "gpus": [gpu.name for gpu in nvidia_gpus()],
        "system": platform.system(),
        "versions": versions(),
        "commit": git_commit(),
    }


def summarise(rounds: list[dict[str, dict[str, Any]]], speeds: list[str]) -> dict[str, Any]:
    """Medians of each side over the rounds, and our median over the second side's for each of `speeds`.

    Args:
        rounds: one {side: {measure: number}} a round, ours first.
    """
    medians = {
        side: {key: round(median(one[side][key] for one in rounds), 4) for key in measures}
        for side, measures in rounds[0].items()
    }
    ours, theirs = list(medians)[:2]
    ratios = {key: round(medians[ours][key] / medians[theirs][key], 3) for key in speeds}
    return {"rounds": rounds, "medians": medians, "ratios": ratios}


def report(title: str, result: dict[str, Any], out: Path | None) -> None:
    """Print the table on standard error, and write `result` to `out`."""
    sides = list(result["medians"])
    table = Table("", *sides, f"{sides[0]} / {sides[1]}", title=title)
    for key in result["medians"][sides[0]]:
        cells = []
        for side in sides:
            if key not in result["medians"][side]:
                cells.append("")
                continue
            each = ", ".join(f"{one[side][key]:g}" for one in result["rounds"])
            cells.append(f"{result['medians'][side][key]:g}" + (f" ({each})" if len(result["rounds"]) > 1 else ""))
        ratio = result["ratios"].get(key)
        table.add_row(key.replace("_", " "), *cells, "" if ratio is None else f"{ratio:.2f}")
    console.print(table)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, result)
