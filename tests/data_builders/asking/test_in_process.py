"""Students in this process, where memory is too small for their batch."""

import pytest
import torch
from transformers import PreTrainedModel

from cft.errors import DataError
from cft.recipe.blocks import ModelBlock
from data_builders.asking.calls import Call, Ledger
from data_builders.asking.in_process import InProcess

SAMPLING = {"max_tokens": 8, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def test_out_of_memory_names_what_to_lower_and_keeps_what_was_answered(tiny_model, tmp_path, monkeypatch):
    model = ModelBlock(id=str(tiny_model), dtype="float32")
    students = InProcess(model, 2, lambda line: None)
    calls = [Call(model.id, [{"role": "user", "content": "a" * n}], SAMPLING, "student", n, 0) for n in (1, 2, 3, 4)]
    forward, calls_of_model = PreTrainedModel.__call__, []

    def full(self, *args, **inputs):
        calls_of_model.append(type(self))
        if len(calls_of_model) > 2 * SAMPLING["max_tokens"]:  # its body is a model too
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, *args, **inputs)

    monkeypatch.setattr(PreTrainedModel, "__call__", full)
    with Ledger(tmp_path / "calls.jsonl") as ledger:
        fault = r"out of memory while 2 answers of up to 8 tokens .* Lower its batch_size or max_new_tokens"
        with pytest.raises(DataError, match=fault):
            students.answer(calls, ledger)
        assert len(ledger.rows) == 2
    monkeypatch.undo()
    with Ledger(tmp_path / "calls.jsonl") as ledger:
        students.answer(calls, ledger)
        assert len(ledger.rows) == 4
