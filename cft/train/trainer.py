"""TRL's SFTTrainer, with what a laptop needs: logits only where there is loss, and the longest batch tried first."""

import inspect
import math

import torch
from transformers import TrainerCallback
from trl import SFTTrainer

from cft.errors import TrainError


class CompletionTrainer(SFTTrainer):
    """SFTTrainer whose CPU path computes logits only where a row's completion is predicted.

    TRL's fused head skips the prompt on GPUs; without Triton it projects every position, padding too, computes each
    tile a second time and multiplies its gradient in float32. On a CPU that is most of a small model's time. Here the
    model's own `logits_to_keep` picks the positions, and the loss is the same to rounding.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.projects_completions_only = (
            self.args.device.type not in ("cuda", "xpu")  # there TRL's own head is the faster one
            and self.args.loss_type == "nll"
            and self.label_smoother is None
            and not self.aux_loss_enabled
            and self.accelerator.num_processes == 1
            and "logits_to_keep" in inspect.signature(type(self.model.get_base_model()).forward).parameters
        )

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Negative log-likelihood of the completions (B, T), summed and divided by `num_items_in_batch` tokens."""
        if return_outputs or not self.projects_completions_only:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = inputs["labels"][:, 1:]
        kept = (targets != -100).any(0).nonzero().squeeze(1)  # positions (K,) that predict a trained token in some row
        targets = targets[:, kept].flatten()
        forward = {key: value for key, value in inputs.items() if key != "labels"}
        logits = model(**forward, use_cache=False, logits_to_keep=kept).logits.float().flatten(0, 1)  # (B*K, V)
        total = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")
        return total / ((targets != -100).sum() if num_items_in_batch is None else num_items_in_batch)

    def try_longest_batch(self) -> None:
        """One forward and backward of a batch of the longest rows. Weights, gradients and RNG stay as they are."""
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])[: self.args.per_device_train_batch_size]
        batch = self.data_collator([self.train_dataset[i] for i in order])
        gpus = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):
            self.training_step(self.model_wrapped, batch, (batch["labels"][:, 1:] != -100).sum().to(self.args.device))
        self.model_wrapped.zero_grad()
        self._metrics["train"].clear()  # TRL's running means and token count
        self._total_train_tokens = 0

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter only: no pickled arguments, no copy of the tokenizer, no question to the hub."""
        self.model.save_pretrained(output_dir or self.args.output_dir, save_embedding_layers=False)

    def create_model_card(self, *args, **kwargs) -> None:
        """Nothing: the adapter gets a card of ours (`cft.train.model_card`), a checkpoint needs none."""


class LongestBatchFirst(TrainerCallback):
    """Tries the longest batch when all is set up, so that too little memory shows at once and not after an hour."""

    def __init__(self, trainer: CompletionTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step < state.max_steps:
            self.trainer.try_longest_batch()


class StopIfDiverged(TrainerCallback):
    """Ends the training as soon as its gradient is no number: from there on the weights are none either."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            raise TrainError(
                f"training diverged: the gradient of step {state.global_step} is {logs['grad_norm']}. Lower "
                f"train.args.learning_rate, which is {args.learning_rate:g}."
            )
