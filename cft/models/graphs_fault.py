"""Whether a model can be decoded with `cft.models.graphs` here: tried out before it is relied on."""

from typing import TYPE_CHECKING

from cft.models.decoding import Answers
from cft.models.graphs import graphs, masked_attention

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TRIED = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]  # two short prompts, as any model's token ids
STEPS = 3
# Share of the largest logit by which two ways may differ, a guess for half precision; with a wrong cache all differs
TOLERANCE = {"torch.float32": 1e-3, "torch.bfloat16": 0.05, "torch.float16": 0.05}
tried: dict[tuple[str, ...], str] = {}  # by model, adapters, type and device: the fault, empty if there is none


def graphs_fault(model: "PreTrainedModel") -> str:
    """Why the decoder `graphs` is not used for this model, in words; empty where it is. Tried once in a process."""
    about = (type(model.config).__name__, str(model.config._name_or_path), str(model.dtype), str(model.device))
    adapters = {getattr(part, "disable_adapters", None) for part in model.modules()}  # whether they are off, if any
    about += (str(getattr(model, "peft_config", "")), str(adapters))
    about += (str(getattr(model.config, "quantization_config", "")), model.config._attn_implementation)
    if about not in tried:
        tried[about] = _shape_fault(model) or _trial_fault(model)
    return tried[about]


def _shape_fault(model: "PreTrainedModel") -> str:
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
        return "its cache has sliding windows or states of its own"
    devices = {str(weight.device) for weight in model.parameters()}
    return f"its weights lie on {', '.join(sorted(devices))}" if len(devices) > 1 else ""


def _trial_fault(model: "PreTrainedModel") -> str:
    """Decode two prompts, and read the same tokens again without a cache."""
    import torch

    seen: list[torch.Tensor] = []

    def choose(logits: "torch.Tensor") -> "torch.Tensor":
        seen.append(logits.float().clone())
        return logits.argmax(-1)

    answers = Answers(TRIED, STEPS + 1, choose)
    try:
        graphs(model, answers, slots=len(TRIED))
        for row, (prompt, tokens) in enumerate(zip(TRIED, answers.tokens, strict=True)):
            inputs = torch.tensor([prompt + tokens[:-1]], device=model.device)
            with torch.inference_mode(), masked_attention(model):
                expected = model(input_ids=inputs).logits[0, -STEPS:].float()
            found = torch.stack([logits[row] for logits in seen[-STEPS:]])
            difference = ((found - expected).abs().max() / expected.abs().max()).item()
            if not difference <= TOLERANCE.get(str(model.dtype), 0):
                return f"its logits differ by {difference:.1%} from those that it has without a cache"
    except Exception as error:  # no kernel of this GPU for it, one that cannot be captured, or too little memory
        return f"{type(error).__name__}: {error}".split("\n")[0]
    return ""
