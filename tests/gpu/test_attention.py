"""Attention and compiled layers compute the same as eager attention and layers as they are written."""

import pytest
import torch

from cft.models.load import load_model
from cft.recipe.blocks import ModelBlock
from cft.train.loop.asking import answering
from cft.train.loop.speed import compile_layers, flash_attention_works, training_attention
from cft.train.loop.trainer import plain
from tests.support.training import distance, make_trainer, step

pytestmark = pytest.mark.gpu
ROWS = [[11, 5, 80, 7, 7, 31], [60, 61, 62], [9, 200, 14, 90, 33, 21, 8, 120, 77]]
PAD = 0


@pytest.fixture(params=["sdpa", "flash_attention_2"])
def attention(request, need_gpu):
    if request.param != "sdpa":
        need_gpu("flash attention")
        if not flash_attention_works("bfloat16"):
            pytest.skip("flash attention is not installed, or does not work here")
    return request.param


def logits_of(model, rows: list[list[int]]) -> list[torch.Tensor]:
    """Logits (T, V) of each row alone."""
    found = [model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0] for row in rows]
    return [logits.float() for logits in found]


def padded(model, rows: list[list[int]], side: str) -> list[torch.Tensor]:
    """The same of a batch that is padded, on the left as in decoding or on the right as in training."""
    longest = max(map(len, rows))
    gaps = [[0] * (longest - len(row)) for row in rows]
    left = side == "left"
    mask = [gap + [1] * len(row) if left else [1] * len(row) + gap for gap, row in zip(gaps, rows, strict=True)]
    ids = [gap + row if left else row + gap for gap, row in zip(gaps, rows, strict=True)]
    ids, mask = torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return [one[keep.bool()].float() for one, keep in zip(logits, mask, strict=True)]


def end_to_end(model, rows: list[list[int]]) -> list[torch.Tensor]:
    """The same of one sequence of all rows, which only their positions tell apart."""
    ids = torch.tensor([[token for row in rows for token in row]], device=model.device)
    positions = torch.cat([torch.arange(len(row)) for row in rows]).to(model.device)
    logits = model(input_ids=ids, position_ids=positions[None], use_cache=False).logits[0].float()
    return list(logits.split([len(row) for row in rows]))


@torch.no_grad()
def test_it_agrees_with_eager_attention_padded_and_packed(tiny_model, attention):
    dtype, allowed = ("float32", 1e-4) if attention == "sdpa" else ("bfloat16", 0.05)
    eager, model = (
        load_model(ModelBlock(id=str(tiny_model), dtype=dtype, attn_implementation=name))
        for name in ("eager", attention)
    )
    expected = logits_of(eager, ROWS)
    largest = max(logits.abs().max() for logits in expected)
    found = {
        "alone": logits_of(model, ROWS),
        "padded on the left": padded(model, ROWS, "left"),
        "padded on the right": padded(model, ROWS, "right"),
        "end to end": end_to_end(model, ROWS),
    }
    for way, logits in found.items():
        off = max((a - b).abs().max() for a, b in zip(logits, expected, strict=True))
        assert off <= allowed * largest, way


@torch.no_grad()
def test_no_row_sees_the_one_before_it(tiny_model, attention):
    """Another first row changes no bit of the second."""
    dtype = "float32" if attention == "sdpa" else "bfloat16"
    model = load_model(ModelBlock(id=str(tiny_model), dtype=dtype, attn_implementation=attention))
    other = [[token + 1 for token in ROWS[0]], *ROWS[1:]]
    for ways in (end_to_end, lambda model, rows: padded(model, rows, "left")):
        first, second = ways(model, ROWS), ways(model, other)
        assert not torch.equal(first[0], second[0])
        assert all(torch.equal(a, b) for a, b in zip(first[1:], second[1:], strict=True))


def test_training_chooses_flash_attention_where_it_works(tiny_model, device):
    block = ModelBlock(id=str(tiny_model))
    works = device == "cuda" and flash_attention_works(block.dtype)
    assert training_attention(block, device) == ("flash_attention_2" if works else "sdpa")
    assert training_attention(block.model_copy(update={"dtype": "float32"}), device) == "sdpa"


@pytest.mark.parametrize("recomputed", [False, True])
def test_compiled_layers_compute_the_same_and_are_compiled_for_all_lengths(tiny_model, tmp_path, device, recomputed):
    if device == "cpu" and recomputed:
        pytest.skip("tests/cft/train/test_speed.py has it for a CPU")
    lengths = [(n, 3 * n) for n in (2, 3, 5, 7, 9, 12, 15, 19)]
    args = {"activation_checkpointing": recomputed, "pad_to_multiple_of": None}
    trainers = [make_trainer(tiny_model, tmp_path, lengths=lengths, args=args, dtype="float32") for _ in range(2)]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # On a CPU that test builds the code; what is traced, and how often, is the same
    compile_layers(plain(trainers[1].model), backend="inductor" if device == "cuda" else "eager")
    graphs = []
    for rows in ([0, 1], [2, 3], [4, 5], [6, 7], [5, 0]):
        (loss, gradients), (compiled_loss, compiled_gradients) = (step(trainer, rows) for trainer in trainers)
        assert compiled_loss == pytest.approx(loss, rel=1e-4)
        assert distance(compiled_gradients, gradients) < 1e-3
        with answering(trainers[1].model, as_base=False) as model:
            logits_of(model, [[5, 6, 7]])
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs == [2] * 5 or graphs == [1] * 5  # two if the first layer's input has no gradient, as the others' has
