"""TRL's SFTTrainer, with what a laptop needs: loss without logits, little padding, the longest batch tried first."""

import inspect
import math
from collections.abc import Iterator

import datasets
import torch
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from transformers.utils import is_triton_available
from trl import SFTTrainer

from cft.devices import random_numbers_forked
from cft.errors import TrainError
from cft.train.loop import ranks
from cft.train.loop.head import FrozenHeadLoss, is_plain_frozen_head
from cft.train.loop.saving import AdapterSaving


class StepSampler(torch.utils.data.Sampler[int]):
    """Rows in another random order each epoch; those of one optimizer step stand in the order of their lengths.

    So a step trains on the same rows whatever the micro-batch, and a micro-batch holds rows of like length: less
    padding, and no change to the optimisation (sorting over the whole epoch would make steps of short rows only).
    """

    def __init__(self, lengths: list[int], rows_a_step: int, seed: int, blank: int = 0) -> None:
        self.lengths, self.rows_a_step, self.seed, self.blank, self.epoch = lengths, rows_a_step, seed, blank, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch, a resumed one too."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths) - self.blank, generator=generator).tolist()
        order += range(len(order), len(self.lengths))
        for start in range(0, len(order), self.rows_a_step):
            yield from sorted(order[start : start + self.rows_a_step], key=lambda i: -self.lengths[i])


def with_blank_rows(rows: datasets.Dataset, together: int, token: int) -> datasets.Dataset:
    """The rows, and as many without loss as fill up an epoch's last round of micro-batches.

    Without them accelerate would let some processes train on a few rows twice, so that all have as many.

    Args:
        together: rows that all processes take at a time.
    """
    if not -len(rows) % together or set(rows.column_names) != {"input_ids", "labels"}:
        return rows
    blank = {"input_ids": [token], "labels": [-100]}
    blanks = datasets.Dataset.from_list([blank] * (-len(rows) % together), features=rows.features)
    return datasets.concatenate_datasets([rows, blanks])


def keep_4bit_weights_trainable(model: torch.nn.Module) -> None:
    """Stop bitsandbytes from re-packing 4-bit weights for a CPU when the model is asked something in eval mode.

    Weights so packed have no backward, and validation answers are asked in the middle of a training.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The transformers model: what is below an adapter, or the model itself where all weights are trained."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):  # --launch with one process
        model = model.module
    return model.get_base_model() if isinstance(model, PeftModel) else model


def without_padding_mask(model: torch.nn.Module, args: tuple, given: dict) -> tuple[tuple, dict]:
    """A forward pre-hook: in training no token sees padding, as it stands behind; without a mask attention is faster.

    TRL's own head hands the mask on, and counts tokens with it, so that it cannot be left out of the batch.
    """
    mask = given.get("attention_mask")
    if model.training and mask is not None and mask[:, 0].all():
        given["attention_mask"] = None
    return args, given


class CompletionTrainer(AdapterSaving, SFTTrainer):
    """SFTTrainer that without Triton (on a CPU, say) computes the output layer only where a completion is predicted.

    TRL's fused head skips the prompt on GPUs; without Triton it projects every position, padding too, computes each
    tile a second time and multiplies its gradient in float32. On a CPU that is most of a small model's time. Here only
    the positions with loss are projected, by `cft.train.loop.head` where the layer is frozen, else by the model's own
    `logits_to_keep`. The loss is the same to rounding.
    """

    def __init__(self, model, args, **kwargs) -> None:
        keep_4bit_weights_trainable(model)
        super().__init__(model=model, args=args, **kwargs)
        if args.fp16 and getattr(model, "is_loaded_in_4bit", False):  # TRL's bfloat16 is none that torch's scaler takes
            for parameter in self.model.parameters():
                parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
        rows, processes = len(self.train_dataset), self.accelerator.num_processes
        if processes > 1:
            self.train_dataset = with_blank_rows(
                self.train_dataset, args.train_batch_size * processes, self.processing_class.eos_token_id
            )
        self.blank = len(self.train_dataset) - rows
        self.projects_completions_only = (
            not (self.args.device.type in ("cuda", "xpu") and is_triton_available())  # there TRL's own head is faster
            and self.args.loss_type == "nll"
            and self.label_smoother is None
            and not self.aux_loss_enabled
            and processes == 1
            and not ranks.sharded()  # FSDP's hooks want the whole model's forward
            and "logits_to_keep" in inspect.signature(type(plain(self.model)).forward).parameters
        )
        plain(self.model).base_model.register_forward_pre_hook(without_padding_mask, with_kwargs=True)
        self.needs_no_logits = self.projects_completions_only and is_plain_frozen_head(plain(self.model))

    def _get_train_sampler(self, train_dataset=None) -> torch.utils.data.Sampler | None:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(rows)
        rows_a_step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        lengths = [len(ids) for ids in rows["input_ids"]]
        self.order = StepSampler(lengths, rows_a_step, self.args.seed, self.blank)
        return self.order

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Negative log-likelihood of the completions (B, T), summed and divided by `num_items_in_batch` tokens."""
        if return_outputs or not self.projects_completions_only:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = inputs["labels"][:, 1:]  # (B, T-1)
        forward = {key: value for key, value in inputs.items() if key != "labels"} | {"use_cache": False}
        if self.needs_no_logits:
            base = plain(model)
            with self.accelerator.autocast():  # which model.forward has around it, but its parts have not
                hidden = base.base_model(**forward).last_hidden_state  # (B, T, D)
            has_loss = targets != -100
            head = base.get_output_embeddings()
            hidden = hidden[:, :-1][has_loss].to(head.weight.dtype)  # (K, D)
            total = FrozenHeadLoss.apply(hidden, head.weight, head.bias, targets[has_loss])
        else:
            kept = (targets != -100).any(0).nonzero().squeeze(1)  # positions (K,) that predict a trained token of a row
            logits = model(**forward, logits_to_keep=kept).logits.float().flatten(0, 1)  # (B*K, V)
            wanted = targets[:, kept].flatten()
            total = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
        return total / ((targets != -100).sum() if num_items_in_batch is None else num_items_in_batch)

    def try_longest_batch(self) -> None:
        """One forward and backward of a batch of the longest rows. Weights, gradients and RNG stay as they are."""
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])[: self.args.per_device_train_batch_size]
        batch = self.data_collator([self.train_dataset[i] for i in order])
        with random_numbers_forked():
            self.training_step(self.model_wrapped, batch, (batch["labels"][:, 1:] != -100).sum().to(self.args.device))
        self.model_wrapped.zero_grad()
        self._metrics["train"].clear()  # TRL's running means and token count
        self._total_train_tokens = 0


def check_rows_stay_apart(trainer: CompletionTrainer) -> None:
    """Try whether rows that stand end to end in one sequence see only themselves, where they are to be so packed.

    Raises:
        TrainError: they do not. That depends on the model and its attention back end.
    """
    if not trainer.padding_free:
        return
    model, device = trainer.model, trainer.model.device
    first, second = torch.arange(3, 11, device=device), torch.arange(7, 12, device=device)
    together, positions = torch.cat([first, second]), torch.cat([torch.arange(8), torch.arange(5)]).to(device)
    training = model.training
    model.eval()
    with torch.no_grad(), trainer.accelerator.autocast():
        packed = model(input_ids=together[None], position_ids=positions[None], use_cache=False).logits[0, 8:].float()
        alone = model(input_ids=second[None], use_cache=False).logits[0].float()
    model.train(training)
    off = ((packed - alone).abs().max() / alone.abs().max()).item()
    if not off < 0.05:  # bfloat16 rounds to 0.4 %; a row that sees another is off by its own size
        raise TrainError(
            f"train.args.packing or padding_free: with model.attn_implementation {model.config._attn_implementation} "
            f"this model lets packed rows see each other (logits are off by {off:.0%}). Leave both out, or set "
            "model.attn_implementation=sdpa."
        )


def try_batch(trainer: Trainer, batch: dict[str, torch.Tensor]) -> None:
    """One forward and backward of a batch of a trainer of rollouts. Weights, gradients and RNG stay as they are."""
    trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    with random_numbers_forked():
        batch = {key: tensor.to(trainer.args.device) for key, tensor in batch.items()}
        trainer.accelerator.backward(trainer.compute_loss(trainer.model_wrapped, batch))
    trainer.model_wrapped.zero_grad()
    trainer._metrics["train"].clear()


class LongestBatchFirst(TrainerCallback):
    """Tries the longest batch when all is set up, so that too little memory shows at once and not after an hour."""

    def __init__(self, trainer: CompletionTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        # DeepSpeed cannot try: its backward is a training step
        if state.global_step < state.max_steps and not self.trainer.is_deepspeed_enabled:
            self.trainer.try_longest_batch()

    def on_epoch_begin(self, args, state, control, **kwargs):
        # Of several processes accelerate does not tell the sampler the epoch that a resumed training begins in
        if hasattr(self.trainer, "order"):
            self.trainer.order.set_epoch(int(state.epoch or 0))


class StopIfDiverged(TrainerCallback):
    """Ends the training as soon as its gradient is no number: from there on the weights are none either.

    In float16 (GPUs without bfloat16) gradients are scaled, and where they overflow the step is skipped and the scale
    halved: such steps are counted in the log, and only a scale that has sunk below 1 is a divergence.
    """

    def __init__(self, trainer: CompletionTrainer) -> None:
        self.scaler, self.skipped = trainer.accelerator.scaler, 0  # a scaler in float16 only

    def on_train_begin(self, args, state, control, **kwargs):
        self.scale = self.scaler.get_scale() if self.scaler else 0

    def on_step_end(self, args, state, control, **kwargs):
        if self.scaler:
            before, self.scale = self.scale, self.scaler.get_scale()
            self.skipped += self.scale < before

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.skipped:
            state.log_history[-1]["skipped_steps"], self.skipped = self.skipped, 0
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            if self.scale >= 1:
                del state.log_history[-1]["grad_norm"]  # JSON has no word for it
                return
            raise TrainError(
                f"training diverged: the gradient of step {state.global_step} is {logs['grad_norm']}. Lower "
                f"train.args.learning_rate, which is {args.learning_rate:g}."
            )
