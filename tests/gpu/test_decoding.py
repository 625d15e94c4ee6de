"""Decoding on this device writes what transformers' `generate` writes, whatever stands in the batch."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

import cft.models.generate
from cft.models.generate import generate
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ModelBlock

pytestmark = pytest.mark.gpu
DECODERS = list(getattr(cft.models.generate, "DECODERS", ["steps"]))
PROMPTS = [f"{'word ' * n}{n} + {n} =" for n in (1, 9, 3, 14, 6)]
TOKENS = 24


@pytest.fixture(scope="module")
def writer(tiny_model, device):
    """The tiny model, with weights so large that it writes something, an adapter on it; and the tokenizer."""
    block = ModelBlock(id=str(tiny_model), dtype="float32")
    model = load_model(block)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=random) * 0.3)
    torch.manual_seed(4)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model, config).eval(), load_tokenizer(block)


@pytest.fixture(params=DECODERS)
def write(request, writer):
    """Writes answers to prompts as one of the decoders does, with fewer slots than prompts where it has slots."""
    how = {"decoder": request.param, "slots": 3} if len(DECODERS) > 1 else {}
    if request.param == "graphs":
        from cft.models.graphs_fault import graphs_fault

        assert not graphs_fault(writer[0])  # else it would be steps, unsaid

    def written(prompts, **settings):
        if settings.get("temperature") and request.param == "continuous":
            pytest.skip("transformers' continuous batching is greedy here")
        return generate(*writer, prompts, **{"max_new_tokens": TOKENS} | how | settings)

    return written


def plainly(writer, prompt: str) -> list[int]:
    """The tokens that `generate` of transformers writes after a prompt alone, greedily."""
    model, tokenizer = writer
    ids = tokenizer(prompt, return_tensors="pt").to(model.device)
    return model.generate(**ids, max_new_tokens=TOKENS, do_sample=False)[0, ids["input_ids"].shape[1] :].tolist()


def test_greedy_answers_of_prompts_of_many_lengths_are_those_of_each_alone(writer, write):
    model, tokenizer = writer
    expected = [plainly(writer, prompt) for prompt in PROMPTS]
    with model.disable_adapter():
        assert [plainly(writer, prompt) for prompt in PROMPTS] != expected
    # A token that some answers hold late and others never ends them at different steps
    stop = next(t for row in expected for t in row[2:] if 0 < sum(t in other for other in expected) < len(expected))
    own = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, stop]
    try:
        answers = write(PROMPTS)
        expected = [plainly(writer, prompt) for prompt in PROMPTS]
    finally:
        model.generation_config.eos_token_id = own
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    for answer, tokens in zip(answers, expected, strict=True):
        assert answer.tokens == len(tokens)
        assert answer.text == tokenizer.decode(tokens, skip_special_tokens=True)


def test_a_beginning_that_prompts_share_and_a_stop_string_change_no_answer(writer, write):
    shots = "Problem: what is 1 + 1?\nSolution: 2\n\n" * 5
    prompts = [shots + prompt for prompt in PROMPTS]
    texts = [writer[1].decode(plainly(writer, prompt), skip_special_tokens=True) for prompt in prompts]
    assert [answer.text for answer in write(prompts)] == texts
    stop = next(text[5:7] for text in texts if len(text) > 9)
    for answer, text in zip(write(prompts, stop_strings=[stop]), texts, strict=True):
        assert answer.text == text.partition(stop)[0] and (answer.finish_reason == "stop") == (stop in text)


def test_sampling_repeats_with_its_seed_and_whatever_else_was_drawn(writer, write):
    draw = {"temperature": 1.0, "top_k": 50, "top_p": 0.9}
    first = write(PROMPTS, seed=1, **draw)
    torch.rand(7, device=writer[0].device)
    assert write(PROMPTS, seed=1, **draw) == first != write(PROMPTS, seed=2, **draw)
