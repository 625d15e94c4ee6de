"""What to turn when memory is too small: settings that need less, one after the other, with the same effective batch.

The order is that of what they cost: a smaller micro-batch costs little time, recomputing activations a fifth to a third
more, and 4-bit weights change what is trained on. No torch here: `cft plan` asks the same questions before anything is
loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from cft.train.loop.defaults import recomputes

Checkpointing = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class Setting:
    """What decides the memory of a training of given rows and model."""

    rows: int  # of a micro-batch: per_device_train_batch_size
    accumulation: int  # micro-batches an optimizer step: gradient_accumulation_steps
    checkpointing: Checkpointing
    quantization: Literal["none", "nf4"] = "none"

    @classmethod
    def of(cls, args: dict[str, Any], quantization: str) -> "Setting":
        """The setting of `train.args` with our defaults filled in."""
        options = args.get("activation_checkpointing_kwargs") or args.get("gradient_checkpointing_kwargs") or {}
        kind = ("selective" if options.get("selective") else "full") if recomputes(args) else "none"
        return cls(args["per_device_train_batch_size"], args["gradient_accumulation_steps"], kind, quantization)

    def __str__(self) -> str:
        recomputing = {"none": "", "selective": ", selective checkpointing", "full": ", gradient checkpointing"}
        weights = ", 4-bit weights" if self.quantization == "nf4" else ""
        return f"micro-batches of {self.rows} row(s){recomputing[self.checkpointing]}{weights}"

    @property
    def rows_a_step(self) -> int:
        """The effective batch of one process."""
        return self.rows * self.accumulation

    @property
    def args(self) -> dict[str, Any]:
        """The keys of SFTConfig that this setting decides."""
        return {
            "per_device_train_batch_size": self.rows,
            "gradient_accumulation_steps": self.accumulation,
            "activation_checkpointing": self.checkpointing != "none",
            "activation_checkpointing_kwargs": {"selective": True} if self.checkpointing == "selective" else None,
        }

    def overrides(self, before: "Setting") -> list[str]:
        """What to write on the command line to come here from `before`."""
        changed = [
            f"train.args.{key}={_yaml(value)}"
            for key, value in self.args.items()
            if value != before.args[key] and not (key.endswith("kwargs") and value is None)
        ]
        return changed + ([f"model.quantization={self.quantization}"] * (self.quantization != before.quantization))


def next_safer(setting: Setting, *, may_quantize: bool) -> Setting | None:
    """The next setting that needs less memory; None if there is none left.

    Rows that divide the effective batch are taken, so that a step trains on as many rows as before.

    Args:
        may_quantize: whether 4-bit weights are possible: LoRA, bitsandbytes is installed, and a GPU computes.
    """
    if setting.rows > 1:
        rows = max(n for n in range(1, setting.rows // 2 + 1) if setting.rows_a_step % n == 0)
        return replace(setting, rows=rows, accumulation=setting.rows_a_step // rows)
    if setting.checkpointing != "full":
        return replace(setting, checkpointing="selective" if setting.checkpointing == "none" else "full")
    if may_quantize and setting.quantization == "none":
        return replace(setting, quantization="nf4")
    return None


def ladder(setting: Setting, *, may_quantize: bool) -> Iterator[Setting]:
    """The setting itself, then every safer one."""
    step: Setting | None = setting
    while step is not None:
        yield step
        step = next_safer(step, may_quantize=may_quantize)


def safer_for(processes: int, setting: Setting, *, may_quantize: bool) -> Setting | None:
    """The next safer setting whose micro-batches several processes can share equally; None if there is none left."""
    _, *safer = ladder(setting, may_quantize=may_quantize)
    return next((step for step in safer if step.accumulation % processes == 0), None)


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "'{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}'"
    return str(value).lower() if isinstance(value, bool) else str(value)
