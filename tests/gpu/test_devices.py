"""No tensor is left on the CPU: shown without a GPU, by tensors that say they are on another device.

They hold their numbers in memory, and refuse what CUDA refuses: an operation on tensors of two devices. The device that
they name is `meta`, as a PyTorch for CPUs takes no other one's name.
"""

from contextlib import ExitStack

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import cft.models.generate
from cft.models.generate import generate
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ModelBlock
from cft.train.loop.head import is_plain_frozen_head
from cft.train.loop.trainer import check_rows_stay_apart, plain
from cft.weights.compare import probe
from tests.support.training import distance, gradients, make_trainer

pytestmark = pytest.mark.gpu
aten = torch.ops.aten
TABLE = getattr(cft.models.generate, "DECODERS", {})
HOW = [{"decoder": name} for name in ("steps", "graphs") if name in TABLE] or [{}]
MAY_MIX = {aten._to_copy.default, aten.copy_.default, aten.index.Tensor, aten.index_put_.default}


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device than the CPU."""

    @staticmethod
    def __new__(cls, held: torch.Tensor):
        about = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), device="meta", **about)

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def tolist(self) -> list:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return TwoDevices().__torch_dispatch__(func, types, args, kwargs)


class TwoDevices(TorchDispatchMode):
    """Within this, what is made on or sent to `meta` is `Elsewhere`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = tree_leaves((args, kwargs or {}))
        away = any(isinstance(one, Elsewhere) for one in given)
        here = any(isinstance(one, torch.Tensor) and not isinstance(one, Elsewhere) and one.dim() for one in given)
        if away and here and func not in MAY_MIX:
            raise RuntimeError(f"{func}: tensors on two devices")
        goes = next((one.type == "meta" for one in given if isinstance(one, torch.device)), away)

        def held(one):
            one = one.held if isinstance(one, Elsewhere) else one
            return torch.device("cpu") if isinstance(one, torch.device) else one

        result = func(*tree_map(held, args), **tree_map(held, kwargs or {}))
        if func._schema.is_mutable:
            return args[0] if isinstance(result, torch.Tensor) else result
        return tree_map(lambda one: Elsewhere(one) if goes and isinstance(one, torch.Tensor) else one, result)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module, its weights and buffers said to be on another device."""
    made: dict[torch.Tensor, torch.nn.Parameter] = {}  # one for each, shared ones too
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                made.setdefault(weight, torch.nn.Parameter(Elsewhere(weight.data), weight.requires_grad))
                part._parameters[name] = made[weight]
        for name, buffer in part._buffers.items():
            part._buffers[name] = Elsewhere(buffer) if buffer is not None else None
    return module


@pytest.fixture
def away(device, monkeypatch):
    """Moves a module away; from then on there are two devices."""
    if device != "cpu":
        pytest.skip("a GPU has tensors of its own")
    generator, tensor = torch.Generator, torch.tensor  # neither can be told of a device that is not there

    def moved_away(module: torch.nn.Module) -> torch.nn.Module:
        monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # it wants tensors of PyTorch's own kind
        monkeypatch.setattr(torch, "Generator", lambda device: generator())
        monkeypatch.setattr(torch, "tensor", lambda data, device="cpu", **about: tensor(data, **about).to(device))
        stack.enter_context(TwoDevices())
        return moved(module)

    with ExitStack() as stack:
        yield moved_away


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "top_k": 20, "top_p": 0.8}], ids=str)
@pytest.mark.parametrize("how", HOW, ids=str)
def test_decoding(tiny_model, away, how, sampling):
    block = ModelBlock(id=str(tiny_model), dtype="float32")
    model, tokenizer = load_model(block, device="cpu"), load_tokenizer(block)
    prompts = ["many words " * 15 + end for end in ("one", "and two", "3")]
    settings = {"max_new_tokens": 6, "stop_strings": ["zzz"]} | how | sampling
    expected = generate(model, tokenizer, prompts, **settings)
    assert str(away(model).device) == "meta"
    assert generate(model, tokenizer, prompts, **settings) == expected


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_loss_and_gradients(tiny_model, tmp_path, away, full, packed):
    trainer = make_trainer(tiny_model, tmp_path, full=full, args={"padding_free": packed}, dtype="float32")
    batch, found = trainer.data_collator(list(trainer.train_dataset)), []
    for place in ("cpu", "meta"):
        if place == "meta":
            away(trainer.model)
        inputs = {key: value.to(place) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        assert is_plain_frozen_head(plain(trainer.model)) != full
        check_rows_stay_apart(trainer)
        loss = trainer.compute_loss(trainer.model, inputs, num_items_in_batch=torch.tensor(40, device=place))
        loss.backward()
        found.append((loss.item(), gradients(trainer.model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and distance(found[1][1], found[0][1]) < 1e-4


def test_what_is_saved_is_probed(tiny_model, away):
    model = load_model(ModelBlock(id=str(tiny_model), dtype="float32"), device="cpu")
    [expected] = probe(model, [5, 6, 7])
    [logits] = probe(away(model), [5, 6, 7])
    assert type(logits) is torch.Tensor and torch.allclose(logits, expected, atol=1e-5)


def test_a_tensor_on_the_cpu_would_be_seen(tiny_model, away):
    model = away(load_model(ModelBlock(id=str(tiny_model), dtype="float32"), device="cpu"))
    with pytest.raises(RuntimeError, match="tensors on two devices"):
        model(input_ids=torch.arange(3)[None])
