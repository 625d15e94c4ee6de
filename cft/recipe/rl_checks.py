"""What can be told of a training on the model's own completions without the model: faults, and what to expect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cft.recipe.blocks.train import RolloutTrain
from cft.recipe.faults import MISSING, Fault
from cft.train.rollouts.batches import RolloutBatches

if TYPE_CHECKING:
    from cft.recipe.blocks import ModelBlock, TrainBlock

# Keys of the batches; the first that a recipe sets is where a fault between them is told
BATCHES = ("generation_batch_size", "steps_per_generation", "num_iterations", "num_generations")
BATCHES += ("gradient_accumulation_steps", "per_device_train_batch_size")
FEW = 4  # completions of a prompt, below which their mean says little
RATES = 1e-5, 1e-3  # usual learning rates of a LoRA adapter


def rollout_faults(train: RolloutTrain, model: "ModelBlock | None") -> Iterator[Fault]:
    """The faults between the keys of `train.args`, and between them and model.dtype."""
    args, place = train.args, ("train", "args")
    given = {key: args[key] for key in BATCHES if args.get(key) is not None}
    if all(type(value) is int and value > 0 for value in given.values()):  # else `library_faults` says so
        for key, fault, fix in _batch_faults(given, args.get("save_steps"), train.method):
            yield Fault((*place, key), fault, fix, args.get(key, MISSING))
    if args.get("teacher_model_kind") == "ema":
        fault = "is an average of weights that TRL keeps in memory only, so that training could not go on after a kill"
        fix = "Set it to base, the model before training, or live, the model as it is"
        yield Fault((*place, "teacher_model_kind"), fault, fix, "ema")
    half = args.get("fp16") or args.get("bf16", model is not None and model.dtype != "float32")
    if args.get("use_transformers_continuous_batching") and half:
        fault = "rounds the adapter to 16 bits with every generation (TRL 1.16), so that small steps are lost"
        fix = "Leave it out, or set train.args.bf16 to false and model.dtype to float32"
        yield Fault((*place, "use_transformers_continuous_batching"), fault, fix, True)


def _batch_faults(given: dict[str, int], save: Any, method: str) -> Iterator[tuple[str, str, str]]:
    """Key, fault and fix of the first thing that is wrong with the batches; `save` is save_steps."""
    batches, said = RolloutBatches.of(given), next((key for key in BATCHES if key in given), BATCHES[0])
    rows, completions, group, steps = batches.rows, batches.completions, batches.group, batches.steps
    if group < 2 and method != "sdft":
        fault = "the reward of a completion is compared with others of the same prompt, and there is none"
        yield "num_generations", fault, "Set it to 8 or 16"
    elif {"generation_batch_size", "steps_per_generation"} <= given.keys():
        yield "generation_batch_size", "and steps_per_generation say the same", "Leave one of them out"
    elif completions % rows:
        fix = f"Set it to {rows * (completions // rows + 1)}"
        yield "generation_batch_size", f"is no multiple of per_device_train_batch_size, which is {rows}", fix
    elif completions % group:
        fault = f"{completions} completions a generation ({completions // rows} micro-batches of "
        fault += f"per_device_train_batch_size {rows}) are no multiple of num_generations {group}"
        near = sorted((n for n in range(2, completions + 1) if completions % n == 0), key=lambda n: abs(n - group))[:3]
        fix = (
            f"num_generations to {' or '.join(map(str, sorted(near)))}" if near else f"generation_batch_size to {group}"
        )
        yield "num_generations" if "num_generations" in given else said, fault, f"Set {fix}"
    elif steps % 1 and 1 / steps % 1:
        fault = (
            f"{completions} completions a generation, trained on {batches.iterations} time(s) in optimizer steps of "
        )
        fault += f"{rows * batches.accumulation}, make {steps:g} steps a generation"
        yield said, fault, "Choose numbers that divide each other"
    elif isinstance(save, int | float) and save >= 1 and save % batches.every:
        fault = f"{steps:g} optimizer steps share a generation, and only behind the last of them a training can go on"
        yield "save_steps", fault, f"Set it to a multiple of {steps:g}"


def rollout_warnings(train: "TrainBlock") -> list[str]:
    """What is allowed, and has cost others a training; in the words of a line each."""
    args, said = {key: value for key, value in train.args.items() if value is not None}, []
    if not isinstance(train, RolloutTrain):
        return said
    batches, kinds = RolloutBatches.of(args), [reward.kind for reward in getattr(train, "rewards", [])]
    if kinds and batches.group < FEW:
        said.append(f"num_generations={batches.group}: the mean of so few rewards says little; 8 or 16 are usual")
    rate = args.get("learning_rate")
    if rate is not None and not RATES[0] <= rate <= RATES[1] and train.lora.get("peft_type", "LORA") == "LORA":
        usual = f"a LoRA adapter wants {RATES[0]:g} to {RATES[1]:g}"
        why = ", ten times that of full fine-tuning or more (TRL issue 2872)" if rate < RATES[0] else ""
        said.append(f"learning_rate={rate:g}: {usual}{why}")
    if dropout := train.lora.get("lora_dropout"):
        without = f"lora_dropout={dropout:g}: completions are sampled without it"
        trained = args.get("disable_dropout") is False
        said.append(f"{without} and trained with it; set it to 0" if trained else f"{without}, and so is training")
    if "random" in kinds and not batches.clips:
        said.append(
            "the reward random with one optimizer step a generation: clipping never acts, and it teaches nothing on "
            "average (the control of Spurious Rewards, arXiv 2506.10947); for the effect set train.args."
            f"steps_per_generation={8 * batches.accumulation}"
        )
    return said
