"""Training in several processes: `accelerate launch` starts them, this process waits, passes signals on, cleans up.

Only the train stage is launched. The processes write nothing but the stage's folder, whose lock this process holds, and
end when it ends, however that is.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cft.devices import pick_device
from cft.errors import Terminated, TrainError
from cft.files import read_json, write_json
from cft.gpus import idle_gpu
from cft.recipe.blocks import Recipe
from cft.runs import METRICS
from cft.suggest import did_you_mean
from cft.terminal import Terminal
from cft.train.select.choice import SHARDED

CONFIGS = Path(__file__).parent
KINDS = {"MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "NO": "ddp", "FSDP": "fsdp2", "DEEPSPEED": "zero3"}
MOST_A_CORE = 4  # processes: each holds the model
KILLED = "a training process was killed without a message: often because memory was too small (see `dmesg`)"


@dataclass(frozen=True)
class Launch:
    """How a training is spread over processes.

    Nothing here is part of a stage's identity: the rows of a step and the loss are the same, the weights to rounding.
    """

    name: str  # as given: ddp, fsdp2, zero3, or a path
    config: Path  # accelerate's
    kind: str  # ddp, fsdp2 or zero3
    processes: int
    gpus: int


def check_launch(name: str | None, processes: int | None, recipe: Recipe) -> Launch | None:
    """The launch that --launch and --processes ask for; None for a training in this process.

    Raises:
        TrainError: the configuration is not known or not usable here, or the processes do not fit GPUs or recipe.
    """
    if name is None:
        if processes is not None and processes != 1:
            raise TrainError(f"--processes {processes}: needs --launch, one of {', '.join(names())}, or a file.")
        return None
    import torch

    config, kind = _config(name)
    if pick_device() == "mps":
        raise TrainError(f"--launch {name}: an Apple GPU trains in one process only. Leave --launch out.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    idle = f"\n{told}" if not gpus and (told := idle_gpu()) else ""
    if processes is None:
        if not gpus:
            raise TrainError(
                f"--launch {name}: no GPU is here to count. Give --processes 2 for two CPU processes.{idle}"
            )
        processes = gpus
    if processes < 1:
        raise TrainError(f"--processes {processes}: must be at least 1.")
    if not gpus and processes > MOST_A_CORE * (os.cpu_count() or 1):
        most = MOST_A_CORE * (os.cpu_count() or 1)
        raise TrainError(f"--processes {processes}: this machine has {os.cpu_count()} cores. Give at most {most}.")
    if gpus and processes > gpus:
        raise TrainError(f"--processes {processes}: only {gpus} GPU(s) are visible here. Give at most {gpus}.")
    if kind != "ddp" and not gpus:
        raise TrainError(
            f"--launch {name}: accelerate shards a model over GPUs only, and none is here. --launch ddp works on "
            f"CPUs.{idle}"
        )
    if kind == "zero3" and importlib.util.find_spec("deepspeed") is None:
        raise TrainError(f"--launch {name}: deepspeed is not installed. pip install deepspeed, or use --launch fsdp2.")
    if kind != "ddp" and recipe.model.quantization != "none":
        raise TrainError(
            f"--launch {name}: does not shard the 4-bit weights of model.quantization={recipe.model.quantization}. "
            "Use --launch ddp, or model.quantization=none."
        )
    if kind != "ddp" and recipe.train.select:
        raise TrainError(f"--launch {name}: {SHARDED}")
    return Launch(name, config, kind, processes, gpus)


def names() -> list[str]:
    """The shipped configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _config(name: str) -> tuple[Path, str]:
    """The file of a shipped or own configuration of accelerate, and which of KINDS it is."""
    from accelerate.commands.config.config_args import load_config_from_file

    own = Path(name)
    config = CONFIGS / f"{name}.yaml" if name in names() else own
    if not config.is_file():
        raise TrainError(f"--launch {name}: is neither shipped nor a file. {did_you_mean(name, names())}")
    try:
        loaded = load_config_from_file(str(config))
        kind = KINDS.get(getattr(loaded.distributed_type, "value", str(loaded.distributed_type)))
    except Exception as error:  # accelerate raises whatever YAML, enum or constructor do
        raise TrainError(
            f"--launch {name}: is no configuration of accelerate ({error}). See `accelerate config`."
        ) from None
    if kind is None or loaded.num_machines > 1:
        raise TrainError(
            f"--launch {name}: distributed_type {loaded.distributed_type} on {loaded.num_machines} machine(s) is not "
            "among what works here: MULTI_GPU, FSDP and DEEPSPEED on one machine."
        )
    if kind == "fsdp2" and (loaded.fsdp_config or {}).get("fsdp_version") != 2:
        raise TrainError(f"--launch {name}: only FSDP version 2 works here. Set fsdp_config.fsdp_version to 2.")
    return config, kind


def launch_training(
    recipe: Recipe, examples: Path, folder: Path, launch: Launch, *, console: Terminal, tracker: str = "none"
) -> dict[str, Any]:
    """The method's `train` in several processes: same arguments, same files, same summary and errors.

    Raises:
        TrainError: a process was killed. Every CFTError of a process comes as a TrainError with its words.
        RuntimeError: a bug in a process, with its traceback.
        KeyboardInterrupt, Terminated: as in one process; no process is left behind.
    """
    beside = folder / ".launch"
    beside.mkdir(parents=True, exist_ok=True)
    for path in beside.iterdir():
        path.unlink()
    job = {"recipe": recipe.model_dump(mode="json"), "examples": str(examples.absolute()), "tracker": tracker}
    job |= {"folder": str(folder.absolute()), "parent": os.getpid(), "kind": launch.kind, "processes": launch.processes}
    job |= {"terminal": console.is_terminal, "width": console.width}
    write_json(beside / "job.json", job)
    command = [sys.executable, "-P", "-m", "accelerate.commands.launch", "--config_file", str(launch.config)]
    command += ["--num_processes", str(launch.processes)]
    command += ["-m", "cft.train.launch.worker", str((beside / "job.json").absolute())]
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // launch.processes))} | os.environ
    environment |= {"PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8"}  # the first: no code of the working folder
    console.print(f"{launch.processes} processes, {launch.name}")
    with open(beside / "launch.log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if console.is_terminal else subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        try:
            _show(process, console)
        except Terminated:  # as from a scheduler: each process finishes its step, saves, and ends
            _signal(process, signal.SIGTERM)
            _show(process, console)
            raise
        finally:
            _signal(process, signal.SIGKILL)
    if process.returncode:
        raise _error(beside, process.returncode)
    return read_json(folder / METRICS)["summary"] | {"launch": launch.name, "processes": launch.processes}


def _show(process: subprocess.Popen, console: Terminal) -> None:
    for line in process.stdout or ():
        console.print(line.rstrip("\n"), soft_wrap=True)
    process.wait()


def _signal(process: subprocess.Popen, number: int) -> None:
    """Send a signal to every training process; SIGKILL to the launcher too.

    Not to the launcher else: it would end the processes in its own way, and kill them half a minute later.
    """
    import psutil

    try:
        parent = psutil.Process(process.pid)
        ranks = parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    kill = [parent, *ranks] if number == signal.SIGKILL else ranks
    for one in kill:
        try:
            one.send_signal(number)
        except psutil.NoSuchProcess:
            continue
    if number == signal.SIGKILL:
        psutil.wait_procs(ranks, timeout=10)
        process.wait()


def _error(beside: Path, code: int) -> BaseException:
    """What the processes left behind, of several errors the one that the user can fix."""
    files = sorted(beside.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    errors = [json.loads(path.read_bytes()) for path in files]
    texts = {
        kind: [error["text"] for error in errors if error["kind"] == kind] for kind in ("fault", "terminated", "bug")
    }
    if texts["fault"]:
        return TrainError(texts["fault"][0])
    log = (beside / "launch.log").read_text(encoding="utf-8", errors="replace")
    killed = "(SIGKILL)" in log
    # Where one is killed, another may be the first to be noticed: it lost its connection
    if killed and ("(SIGKILL)" in log.rpartition("Root Cause")[2] or all("onnection" in text for text in texts["bug"])):
        return TrainError(f"{KILLED}. The same command goes on from the last complete checkpoint.")
    if texts["terminated"]:
        return Terminated()
    return RuntimeError(f"in a training process:\n{(texts['bug'] or [f'exit code {code}: {log[-3000:]}'])[0]}")
