"""What computes, and its memory and random numbers, on machines that torch is made to describe."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from cft.devices import device_memory, free_cache, is_out_of_memory, native_dtype, pick_device, random_numbers_forked
from cft.errors import EvalError, ModelError, TrainError
from cft.memory import peak_memory_mb
from cft.models.load import load_model, load_tokenizer
from cft.plan.memory import room_of
from cft.recipe.blocks import ModelBlock
from cft.train.launch.start import check_launch
from cft.train.loop.trainer import CompletionTrainer
from eval.answering.batched import BatchedDecoding, Decoding
from tests.support.training import make_recipe


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine whose torch says that it has an Apple GPU of 12 GB, 3 of them in use, and its random numbers' state."""
    state = SimpleNamespace(macos=14, random=torch.arange(5, dtype=torch.uint8), emptied=0)

    def keep(random: torch.Tensor, device: int = 0) -> None:
        state.random = random

    def empty() -> None:
        state.emptied += 1

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: state.macos >= major)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 << 30)
    monkeypatch.setattr(torch.mps, "empty_cache", empty)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda device=0: state.random.clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", keep)
    return state


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 7.64 GiB, max allowed: 9.07 GiB)."),
        RuntimeError("Invalid buffer size: 33.92 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_known_in_everybodys_words(error: Exception):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [EvalError("Out of memory while 3 answers were written"), RuntimeError("mat1 shape")])
def test_what_has_been_said_and_other_errors_are_no_lack_of_memory(error: Exception):
    assert not is_out_of_memory(error)


def test_a_model_too_large_for_an_apple_gpu_is_no_damaged_model(
    apple: SimpleNamespace, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*args, **kwargs):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 7.64 GiB)")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(ModelError, match=r"does not fit into the memory of mps, where .* of 12.9 GB were free"):
        load_model(ModelBlock(id=str(tiny_model)))


def test_too_little_memory_for_answers_names_the_batch(tiny_model: Path, tmp_path: Path):
    def elicit(*args, **kwargs):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 7.64 GiB)")

    block = ModelBlock(id=str(tiny_model), dtype="float32")
    decoding = Decoding(max_new_tokens=4, batch_size=8)
    asked = BatchedDecoding(
        load_model(block), load_tokenizer(block), decoding, log=tmp_path / "log.jsonl", elicit=elicit
    )
    with pytest.raises(EvalError, match=r"Out of memory while 2 answers .* Lower eval.batch_size \(now 8\)"):
        asked.answer(["1+1?", "2+2?"])


def test_an_apple_gpu_has_its_types_and_shares_the_machines_memory(apple: SimpleNamespace):
    assert pick_device() == "mps" and native_dtype() == "bfloat16"
    apple.macos = 13
    assert native_dtype() == "float16"
    free, total = device_memory("mps")
    assert total == 12 << 30 and 0 < free <= 9 << 30
    name, room = room_of(None, "mps")
    assert "Apple" in name and 0 < room < 9 << 30
    assert peak_memory_mb() == 3 << 10
    free_cache()
    assert apple.emptied == 1


def test_an_apple_gpu_trains_in_one_process(apple: SimpleNamespace, tiny_model: Path):
    with pytest.raises(TrainError, match="--launch ddp: an Apple GPU trains in one process only"):
        check_launch("ddp", 2, make_recipe(tiny_model))


def test_random_numbers_go_on_as_before(apple: SimpleNamespace):
    before = torch.get_rng_state()
    with random_numbers_forked():
        torch.rand(3)
        torch.mps.set_rng_state(torch.zeros(5, dtype=torch.uint8))
    assert torch.equal(torch.get_rng_state(), before) and apple.random.tolist() == [0, 1, 2, 3, 4]


def test_a_checkpoint_keeps_the_random_numbers_of_an_apple_gpu(apple: SimpleNamespace, tmp_path: Path):
    trainer = CompletionTrainer.__new__(CompletionTrainer)
    trainer.args = SimpleNamespace(world_size=1, process_index=0, parallel_mode=None)
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    trainer._save_rng_state(str(tmp_path))
    apple.random = torch.zeros(5, dtype=torch.uint8)
    torch.rand(3)
    trainer._load_rng_state(str(tmp_path))
    assert apple.random.tolist() == [0, 1, 2, 3, 4] and torch.equal(torch.get_rng_state(), kept[2])
    assert random.getstate() == kept[0]
