"""The device that computes, its memory, the types it computes in, and graphics cards by name. This loads no torch."""

import functools
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from cft.errors import CFTError, ModelError
from cft.suggest import did_you_mean

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock

# How models of this process write on each device (`cft.models.generate`). No GPU has measured it
DEFAULT_DECODERS = {"cuda": "graphs", "mps": "steps", "cpu": "steps"}
GROUP = {"graphs": 16}  # batches whose prompts come together, for a decoder that refills the rows of ended answers


def decoder_for(asked: str, device: str) -> str:
    """The decoder that `asked` means on a device: `auto` is the one that DEFAULT_DECODERS names."""
    return DEFAULT_DECODERS.get(device, "steps") if asked == "auto" else asked


SPINS = 1000  # turns, a few µs; libgomp's own 300,000 are a millisecond
# How the lack of memory is worded where it is not torch.OutOfMemoryError: by PyTorch on a CPU, the system, oneDNN; by
# PyTorch on Apple's GPUs, which raises a RuntimeError; and by cuBLAS, hipBLAS and others that ask the driver themselves
NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a primitive",
    "out of memory",
    "invalid buffer size",
    "blas_status_alloc_failed",
)


def share_cores() -> None:
    """Let a thread that waits for the others of its operation sleep soon. Before torch is loaded.

    libgomp lets it spin for a millisecond, a thousand times a second. Where another program computes too, that takes
    the core from the thread that is waited for: a step of two threads beside one busy process takes several times as
    long. Not to spin at all (OMP_WAIT_POLICY=PASSIVE) costs an idle machine a tenth of its decoding speed; so few turns
    cost it 1 to 3 % (benchmarks/README.md). What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def pick_device() -> str:
    """cuda, mps or cpu: the first that is here. AMD's cards are cuda: torch's ROCm build calls them so."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_memory(device: str) -> tuple[int, int]:
    """Bytes of memory that are free for `device`, and all that it has. An Apple GPU shares the machine's memory."""
    import torch

    if device == "cuda":
        return torch.cuda.mem_get_info()
    machine = psutil.virtual_memory()
    if device == "mps":
        most = torch.mps.recommended_max_memory()
        return min(most - torch.mps.driver_allocated_memory(), machine.available), most
    return machine.available, machine.total


def free_cache() -> None:
    """Give back what the GPU's allocator keeps for later; what is in use stays."""
    import torch

    device = pick_device()
    if device != "cpu":
        (torch.cuda if device == "cuda" else torch.mps).empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small, of the GPU or of this machine. A CFTError says by itself what there is to do."""
    import torch

    worded = not isinstance(error, CFTError) and any(words in str(error).lower() for words in NO_MEMORY)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or worded


@contextmanager
def out_of_memory_as(error: CFTError) -> Iterator[None]:
    """Within this, `error` is raised where memory was too small."""
    try:
        yield
    except (RuntimeError, MemoryError) as fault:
        if not is_out_of_memory(fault):
            raise
        raise error from fault


def random_numbers_forked() -> AbstractContextManager:
    """Within this torch draws its random numbers, of the CPU and of the GPU, for nothing: they go on as before."""
    import torch

    device = pick_device()
    numbers = [torch.cuda.current_device()] if device == "cuda" else [0] if device == "mps" else []
    return torch.random.fork_rng(numbers, device_type="mps" if device == "mps" else "cuda")


def cpu_computes_in(dtype: str) -> bool:
    """Whether PyTorch has matrix products in `dtype` for this CPU: those in half precision are oneDNN's.

    oneDNN wants AVX-512 for bfloat16, or an ARM core that has it. Without it the products come from plain loops: with
    AVX2 they were 2 to 60 times slower in bfloat16 than in float32, and slowest in the backward pass.
    """
    import torch

    if dtype == "float32" or not torch.backends.mkldnn.is_available():
        return dtype == "float32"
    onednn = torch.ops.mkldnn
    return onednn._is_mkldnn_bf16_supported() if dtype == "bfloat16" else onednn._is_mkldnn_fp16_supported()


def native_dtype() -> str:
    """What model.dtype=auto stands for: bfloat16; where that is emulated, float32 on a CPU and float16 on a GPU."""
    import torch

    device = pick_device()
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        return "bfloat16" if torch.backends.mps.is_macos_or_newer(14, 0) else "float16"
    return "bfloat16" if cpu_computes_in("bfloat16") else "float32"


def slow_dtype(block: "ModelBlock", device: str) -> str | None:
    """What to tell who computes in a type that this CPU emulates; None where it does not."""
    if device != "cpu" or cpu_computes_in(block.dtype):
        return None
    return f"this CPU emulates {block.dtype}, many times slower than it computes in float32. Set model.dtype=float32."


# Cards by the words of their names: memory in GB, and dense bfloat16 TFLOP/s with float32 accumulation, as their makers
# publish them; data sheets that count sparsity are halved. Without a form factor it is the SXM one. AMD's are
# second-hand: an MI250 is one of the two GPUs that torch sees in it; of a Radeon it is operations a clock and unit
# (512 in RDNA 3, 1,024 in RDNA 4) times compute units and boost clock.
CARDS = {
    "rtx 3060": (12, 51),
    "rtx 4060 ti": (16, 88),
    "rtx 4070": (12, 117),
    "rtx 4080": (16, 195),
    "rtx 3090": (24, 71),
    "rtx 4090": (24, 165),
    "rtx 5090": (32, 209),
    "a10": (24, 125),
    "a10g": (24, 70),
    "l4": (24, 121),
    "l40": (48, 181),
    "l40s": (48, 362),
    "a40": (48, 150),
    "a100": (80, 312),
    "a100 40gb": (40, 312),
    "h100": (80, 989),
    "h100 pcie": (80, 756),
    "h100 nvl": (94, 835),
    "h200": (141, 989),
    "h200 nvl": (141, 835),
    "b200": (180, 2250),
    "rx 7900 xt": (20, 103),
    "rx 7900 xtx": (24, 123),
    "rx 9070": (16, 145),
    "rx 9070 xt": (16, 195),
    "w7900": (48, 123),
    "mi210": (64, 181),
    "mi250": (64, 181),
    "mi250x": (64, 192),
    "mi300x": (192, 1307),
}
# Words of a driver's or a data sheet's name that tell no card from another
NOISE = {"nvidia", "geforce", "tesla", "gpu", "pcie", "sxm", "sxm4", "sxm5", "hbm2", "hbm2e", "hbm3", "hbm3e"}
NOISE |= {"amd", "radeon", "instinct", "pro", "oam"}


MFU = 0.35  # share of the peak that training is assumed to reach on a card; not measured
# Seconds that a batch is assumed to take for one token more; not measured. Most cards read all of their memory, and so
# any model that fits, in 0.02 to 0.04 s, and transformers' own code takes about as long
DECODING_STEP = 0.05
# Seconds in which a card is assumed to read all of its memory; a step of the decoder `graphs` waits for no code and
# reads weights and cache once. Not measured
MEMORY_READ = 0.03


@dataclass(frozen=True)
class Card:
    """A GPU that is asked about."""

    name: str
    bytes: float
    flops: float | None  # peak, dense bfloat16


def known_card(name: str) -> str | None:
    """The entry of CARDS that a name means, as people, drivers or data sheets write it; None if there is none.

    All words count, so that an L40 is no L4, and a Ti, a laptop's card or a slice of a card is not the one it is not.
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower())) - {""}
    fit = [
        card
        for card, (memory, _) in CARDS.items()
        if set(card.split()) <= words and words - set(card.split()) <= NOISE | {f"{memory}gb"}
    ]
    return max(fit, key=len, default=None)


def find_card(asked: str) -> Card:
    """The card of `--gpu`: a number of GB, or a name. Raises ModelError if it is neither."""
    text = " ".join(asked.lower().split())
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:gb|g)?", text)
    if number and 1 <= float(number[1]) <= 2000:
        return Card(f"{float(number[1]):g} GB card", float(number[1]) * 1e9, None)
    if card := known_card(text):
        memory, tera = CARDS[card]
        return Card(asked.strip(), memory * 1e9, tera * 1e12)
    raise ModelError(
        f"--gpu {asked}: is neither GB of memory (12, 16, 24 ...) nor a known card. {did_you_mean(text, CARDS)}."
    )


@functools.cache
def matmul_flops(dtype: str) -> float:
    """Floating-point operations per second of a matrix product in `dtype` here, measured for a tenth of a second."""
    import torch

    device, size = pick_device(), 1024
    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    (a @ b).sum().item()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1:
        (a @ b).sum().item()
        done += 1
    return 2 * size**3 * done / (time.perf_counter() - start)
