"""Adapters as they are saved, each held against the model in memory.

An adapter is delivered only if it answers as the model in memory does. The check reads the folder as any user would.
Where the adapter leaves the base as it is, it is put on that base beside the one in training, which costs the memory of
one adapter; else the trained weights make room for a base that is loaded again.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from peft.tuners.beft.layer import BeftLayer
from peft.tuners.lora import LoraLayer
from transformers import Trainer

from cft.errors import LIBRARY_ERRORS, TrainError
from cft.terminal import Terminal
from cft.train.loop import ranks
from cft.train.loop.asking import answering, random_numbers_kept
from cft.weights.adapter import attach, changes_base
from cft.weights.compare import probe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINED, DELIVERED = "default", "delivered"  # names of adapters in memory: PEFT's own of the first one, and ours
# Largest difference of a logit, as a share of the largest logit. The same weights give the same bits on one CPU; a GPU
# may add up in another order, and a start that PEFT computes again rounds to the type of the base
ROUNDING = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
SMALL = 32  # rows and columns of the layer that PEFT is tried on


def save(trainer: Trainer, folder: Path) -> None:
    """Write the adapter as it is into `folder`, and refuse it if it does not answer as the model in memory does.

    Of several processes all must call it. A whole model, weights that processes share, and an adapter that has changed
    the base are only written; the last is looked at by `check_on_new_base` when training has ended.
    """
    trainer.save_model(str(folder))
    model = trainer.model
    if ranks.is_main() and not ranks.sharded() and isinstance(model, PeftModel) and not changes_base(config_of(model)):
        rows, base = probed_rows(trainer), model.get_base_model()
        with answering(model, as_base=False):
            kept = probe(base, *rows)
            types = {name: weight.dtype for name, weight in model.named_parameters()}
            try:
                attach(model, folder, base.name_or_path, DELIVERED)
                model.set_adapter(DELIVERED)
                for name, weight in model.named_parameters():  # PEFT loads in float32; on 4 bits bfloat16 is trained
                    weight.data = weight.data.to(types.get(name.replace(DELIVERED, TRAINED), weight.dtype))
                read = probe(base, *rows)
            finally:
                model.set_adapter(TRAINED)
                if DELIVERED in model.peft_config:
                    model.delete_adapter(DELIVERED)
        refuse_other(folder, model, kept, read)
    ranks.wait()


def check_on_new_base(
    trainer: Trainer, folder: Path, load: Callable[[], "PreTrainedModel"], model_id: str, *, earlier: bool
) -> None:
    """As `save`, for an adapter that has changed weights of its base. The trained model is gone afterwards.

    Args:
        load: loads the base.
        earlier: whether the adapter is that of an earlier step than the model's.
    """
    model = trainer.model
    if not ranks.is_main() or ranks.sharded() or not isinstance(model, PeftModel) or not changes_base(config_of(model)):
        return
    rows = probed_rows(trainer)
    if earlier:
        model.load_adapter(str(folder), TRAINED)
    with answering(model, as_base=False) as trained:
        kept = probe(trained, *rows)
    for weight in [*model.parameters(), *model.buffers()]:  # room for the base
        weight.data = torch.empty(0, dtype=weight.dtype, device=weight.device)
    fresh = attach(load(), folder, model_id, TRAINED)
    refuse_other(folder, fresh, kept, probe(fresh, *rows))


def config_of(model: PeftModel) -> dict:
    """The settings of the adapter in training, as adapter_config.json has them."""
    return model.peft_config[TRAINED].to_dict()


def probed_rows(trainer: Trainer) -> list[list[int]]:
    """Token ids that show what was trained: the first row, and the tokens whose embeddings are trained."""
    tokens = config_of(trainer.model).get("trainable_token_indices") or []
    tokens = tokens if isinstance(tokens, list) else [token for some in tokens.values() for token in some]
    first = trainer.train_dataset[0].get("input_ids") or trainer.processing_class("The answer is 12.")["input_ids"]
    return [row for row in (first, tokens) if row]


def refuse_other(folder: Path, model: "PreTrainedModel", kept: list[torch.Tensor], read: list[torch.Tensor]) -> None:
    """Raise TrainError unless the logits of what was saved are numbers, and the model's in memory up to ROUNDING."""
    largest = max(logits.float().abs().max().item() for logits in kept)
    off = max((one.float() - other.float()).abs().max().item() for one, other in zip(kept, read, strict=True))
    allowed = ROUNDING.get(model.dtype, ROUNDING[torch.bfloat16]) * largest
    if not math.isfinite(largest):
        raise TrainError("training diverged: the model answers with no numbers. Lower train.args.learning_rate.")
    if not off <= allowed:
        raise TrainError(
            f"{folder}: the saved adapter does not answer as the trained model: logits up to {largest:.3g} are off by "
            f"{off:.3g}, {allowed:.2g} would be rounding. It is not kept. Train with plainer settings in train.lora."
        )


def foresee(model: "PreTrainedModel | PeftModel", console: Terminal, *, merged: bool) -> None:
    """Before training, ask PEFT on small layers of the model's kinds what will become of an adapter of its settings.

    Args:
        merged: whether the recipe is going to score the merged model.

    Raises:
        TrainError: PEFT changes the base by chance, so the adapter could not be loaded again; or it cannot be merged.
    """
    if any(isinstance(layer, BeftLayer) and layer.get_base_layer().bias is None for layer in model.modules()):
        return cannot_be_merged("some of its layers have no bias to add to", console, merged=merged)
    if not isinstance(model, PeftModel) or not isinstance(config := model.peft_config[TRAINED], LoraConfig):
        return
    layers = [layer.get_base_layer() for layer in model.modules() if isinstance(layer, LoraLayer)]
    kinds = {(isinstance(base, torch.nn.Embedding), getattr(base, "bias", None) is not None) for base in layers}
    for embedding, bias in sorted(kinds):
        try:
            twins = [small_layer(config, embedding=embedding, bias=bias, seed=seed) for seed in (0, 1)]
        except LIBRARY_ERRORS:  # settings that go with the sizes of the model's own layers: what is saved will show
            continue
        if not torch.equal(*(layer.get_base_layer().weight for layer in twins)):
            raise TrainError(
                f"train.lora.init_lora_weights={config.init_lora_weights}: changes the base's weights by chance, in "
                "another way each time, so that the adapter could never be loaded again. Take a start without chance "
                "(pissa, olora), or leave it out."
            )
        try:
            twins[0].merge(safe_merge=True)
        except LIBRARY_ERRORS as error:
            return cannot_be_merged(" ".join(str(error).split()).rstrip("."), console, merged=merged)


def cannot_be_merged(why: str, console: Terminal, *, merged: bool) -> None:
    """Say that PEFT cannot merge the adapter. TrainError if the recipe is going to score the `merged` model."""
    fault = f"train.lora: PEFT cannot merge such an adapter: {why}."
    if merged:
        raise TrainError(f"{fault} The arm `merged` of eval.arms could not be scored. Leave out one of both.")
    told = f"warning: {fault} `cft export` will give the adapter itself only (--to adapter)."
    console.out(told, style="yellow")


def small_layer(config: LoraConfig, *, embedding: bool, bias: bool, seed: int) -> LoraLayer:
    """A layer of SMALL rows and columns with an adapter on it, as PEFT makes it of these settings and a seed."""
    everywhere = ("exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save", "layer_replication")
    everywhere += ("target_parameters", "trainable_token_indices")
    ours = replace(
        config,
        r=min(config.r, SMALL // 2),
        target_modules=["0"],
        rank_pattern={},
        alpha_pattern={},
        **dict.fromkeys(everywhere),
    )
    with random_numbers_kept():
        torch.manual_seed(0)
        layer = torch.nn.Embedding(SMALL, SMALL) if embedding else torch.nn.Linear(SMALL, SMALL, bias=bias)
        torch.manual_seed(seed)
        return inject_adapter_in_model(ours, torch.nn.Sequential(layer))[0]
