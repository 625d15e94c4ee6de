"""Batched decoding with transformers, for students and for evaluation: prompts in, answers out.

`GenerationMixin.generate` keeps computing rows that have already ended until the whole batch has. Here no decoder does,
so the time goes with the tokens produced and not with the longest answer; greedy tokens are those of `generate`.
Measured on CPUs in `benchmarks/`; on GPUs not measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cft.devices import decoder_for
from cft.errors import ModelError
from cft.models.continuous import continuous
from cft.models.decoding import Answers, choose, stop_token_ids, until
from cft.models.graphs import graphs
from cft.models.graphs_fault import graphs_fault
from cft.models.steps import steps
from cft.models.template import apply_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DECODERS = {"steps": steps, "graphs": graphs, "continuous": continuous}


@dataclass(frozen=True)
class Completion:
    """What the model wrote after one prompt."""

    text: str
    tokens: int  # new tokens, the end-of-sequence token included
    finish_reason: Literal["stop", "length"]  # ended by itself | hit max_new_tokens
    trajectory: dict[str, Any] | None = None  # of a task with tools: its messages, and the end state


def render(tokenizer: "PreTrainedTokenizerBase", messages: list[dict], tools: list[dict] | None = None) -> str:
    """The prompt text: the tokenizer's chat template with its generation prompt, or plain text where there is none.

    A last message of the assistant is the beginning of its answer, which the model goes on with.

    Args:
        tools: JSON schemas in OpenAI's form; `cft.models.template.check_tools` says whether the template shows them.
    """
    begun = messages[-1]["role"] == "assistant"
    if tokenizer.chat_template is None:
        return "\n\n".join(message["content"] for message in messages) + ("" if begun else "\n")
    return apply_template(
        tokenizer,
        messages,
        tools=tools,
        tokenize=False,
        add_generation_prompt=not begun,
        continue_final_message=begun,
    )


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompts: list[list[dict]]) -> list[list[int]]:
    """The token ids of prompts; the tokenizer adds its own (a BOS, say) where no template has written them."""
    texts = [render(tokenizer, messages) for messages in prompts]
    return tokenizer(texts, add_special_tokens=tokenizer.chat_template is None)["input_ids"]


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[str],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop_strings: Sequence[str] = (),
    special_tokens: bool | None = None,
    decoder: str = "auto",
    slots: int | None = None,
    on_step: Callable[[int], None] | None = None,
    on_answer: Callable[[], None] | None = None,
) -> list[Completion]:
    """Decode one batch of B prompts. Only the sampling settings given here count, not the model's generation config.

    Args:
        prompts: rendered prompts.
        special_tokens: whether the tokenizer adds its own (a BOS, say) to each prompt; None: where it has no chat
            template, which would have written them.
        temperature: 0 is greedy; above 0 tokens are sampled, the same ones for the same seed, batch and decoder.
        top_k: 0 keeps all tokens.
        stop_strings: an answer ends before the first of them that it contains.
        decoder: steps, graphs, or auto, which is that of the device (`cft.devices.DEFAULT_DECODERS`). Where
            `cft.models.graphs_fault` finds a fault, graphs becomes steps. The benchmark has continuous, too.
        slots: answers that are written at a time; None: all.
        on_step: called for each decoding step with the number of rows that got a token.
        on_answer: called for each answer that has ended.

    Raises:
        ModelError: `continuous` is asked to sample.
    """
    added = tokenizer.chat_template is None if special_tokens is None else special_tokens
    answers = sampled(
        model,
        tokenizer,
        tokenizer(prompts, add_special_tokens=added)["input_ids"],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop_strings=stop_strings,
        decoder=decoder,
        slots=slots,
        on_step=on_step,
        on_answer=on_answer,
    )
    texts = [until(text, stop_strings)[0] for text in tokenizer.batch_decode(answers.tokens, skip_special_tokens=True)]
    return [Completion(text, len(t), r) for text, t, r in zip(texts, answers.tokens, answers.reasons, strict=True)]


def sampled(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    decoder: str = "auto",
    slots: int | None = None,
    **more: Any,
) -> Answers:
    """`generate` from token ids to token ids.

    Args:
        more: `stop_strings`, `on_step` and `on_answer`.
    """
    import torch

    generator = torch.Generator(model.device).manual_seed(seed)
    answers = Answers(
        prompts,
        max_new_tokens,
        lambda logits: choose(logits, temperature, top_k, top_p, generator),
        stop_token_ids(model, tokenizer),
        decode=tokenizer.decode,
        **more,
    )
    if decoder_for(decoder, model.device.type) == "continuous" and temperature:
        raise ModelError(f"the decoder continuous is greedy only, but temperature is {temperature:g}. Use graphs.")
    write(model, answers, decoder=decoder, slots=slots)
    return answers


def write(model: "PreTrainedModel", answers: Answers, *, decoder: str = "auto", slots: int | None = None) -> None:
    """Write all answers with a decoder of `generate`."""
    name = decoder_for(decoder, model.device.type)
    if name == "graphs" and graphs_fault(model):
        name = "steps"
    DECODERS[name](model, answers, min(slots or len(answers.prompts), len(answers.prompts)))
