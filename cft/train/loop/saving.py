"""What every trainer here saves, and how it goes on: an adapter, or a whole model, and nothing that runs code."""

import copy
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from cft.devices import pick_device
from cft.files import let_others_read
from cft.train.loop import ranks

MPS_RANDOM = "rng_state_mps.safetensors"  # in a checkpoint


def first_names(model: torch.nn.Module) -> dict[str, str]:
    """For each parameter's name the first name of the same parameter: another one where a head is the embedding."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(parameter), name) for name, parameter in named}


def in_dtype(weights: dict[str, torch.Tensor], dtype: torch.dtype, first: dict[str, str]) -> dict[str, torch.Tensor]:
    """The weights in a type, those of one parameter as one tensor: gathered from several processes they are copies.

    Args:
        first: `first_names` of the model.
    """
    cast: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if (key := first.get(name, name)) not in cast:
            cast[key] = weight.to(dtype) if weight.is_floating_point() else weight
    return {name: cast[first.get(name, name)] for name in weights}


class AdapterSaving:
    """To stand before a Trainer of transformers among the bases of a class."""

    product_dtype = "float32"  # of a whole model that is saved; the recipe's model.dtype

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        """Keep the types of trained weights: PEFT loads an adapter in float32, that of a 4-bit base was bfloat16."""
        types = {name: p.dtype for name, p in self.model.named_parameters() if p.requires_grad}
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for name, parameter in self.model.named_parameters():
            if parameter.dtype != types.get(name, parameter.dtype):
                parameter.data = parameter.data.to(types[name])

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter only (or the whole model and its tokenizer): no pickled arguments, no question to the hub.

        A whole model is trained in float32 and written in `product_dtype`; a checkpoint keeps float32, to go on from.
        Of several processes all must call it, and the main one writes, when it has the others' shares of the weights.
        """
        weights = self.accelerator.get_state_dict(self.model_wrapped) if ranks.sharded() else None
        if ranks.is_main():
            folder = output_dir or self.args.output_dir
            if isinstance(self.model, PeftModel):
                self.model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
            else:
                weights = self.model.state_dict() if weights is None else weights
                dtype = self.model.dtype if _internal_call else getattr(torch, self.product_dtype)
                self.model.save_pretrained(folder, state_dict=in_dtype(weights, dtype, first_names(self.model)))
                config = copy.deepcopy(self.model.config)
                config.dtype = dtype  # save_pretrained has written that of the training
                config.save_pretrained(folder)
                self.processing_class.save_pretrained(folder)  # so that it loads by itself
            let_others_read(Path(folder))
        ranks.wait()

    def _save_rng_state(self, output_dir: str) -> None:
        """As transformers does, and the state of an Apple GPU's random numbers, which it leaves out."""
        super()._save_rng_state(output_dir)
        if pick_device() == "mps":
            save_file({"mps": torch.mps.get_rng_state()}, Path(output_dir) / MPS_RANDOM)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint and pick_device() == "mps":
            torch.mps.set_rng_state(load_file(Path(checkpoint) / MPS_RANDOM)["mps"])

    def create_model_card(self, *args, **kwargs) -> None:
        """Nothing: the adapter gets a card of ours (`cft.train.card`), a checkpoint needs none."""
