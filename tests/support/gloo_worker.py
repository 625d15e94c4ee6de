"""cft.train.launch.worker on two CPU processes that accelerate takes for GPUs.

Its FSDP and DeepSpeed branches leave CPU processes out, while torch shards over gloo as well. Started by hand:
accelerate launch --config_file cft/train/launch/fsdp2.yaml -m tests.support.gloo_worker JOB.json
With STOP_IN=N in the environment each process sends itself SIGTERM in step N, as a scheduler would. With LIMIT=N the
second process has N bytes of memory above what its modules take. A thread that never ends stands for those that a
library leaves behind: the process must end all the same.
"""

import os
import resource
import signal
import sys
import threading
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

PartialState._prepare_backend = lambda self, *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
begin = PartialState.__init__
PartialState.__init__ = lambda self, cpu=False, **kwargs: begin(self, False, **kwargs)
PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))


def stop_in(self, args, state, control, **kwargs) -> None:
    if state.global_step + 1 == int(os.environ.get("STOP_IN", "0")):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from cft.train import sft
    from cft.train.launch import worker
    from cft.train.loop import stopping

    if (limit := int(os.environ.get("LIMIT", "0"))) and os.environ["RANK"] == "1":
        limit += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    stopping.SaveOnTerm.on_step_begin = stop_in
    ours = sft.our_defaults  # with use_cpu accelerate would not shard
    sft.our_defaults = lambda *args, **more: ours(*args, **more) | {"use_cpu": False}
    threading.Thread(target=threading.Event().wait).start()
    worker.main(Path(sys.argv[1]))
