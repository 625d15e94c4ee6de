"""Our decoding gives the tokens of `generate`, row by row, and is repeatable."""

from datetime import date
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

import cft.models.decoding
from cft.models.decoding import choose, plan_batches, shared_prefix
from cft.models.generate import generate, render
from cft.models.load import load_tokenizer
from cft.recipe.blocks import ModelBlock
from cft.rows import tokenize_row
from cft.weights.adapter import check_tokenizer
from tests.support.tiny import CHAT_TEMPLATE, late_stop, loud_model, make_tiny_model

LLAMA = """\
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "Today Date: " + date_string + "\\n" }}"""


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return loud_model(tiny_model)


def generate_40(model, tokenizer, prompts):
    return generate(model, tokenizer, prompts, max_new_tokens=40)


def test_greedy_text_and_lengths_are_those_of_transformers_generate(tiny):
    model, tokenizer = tiny
    prompts = [f"{'word ' * n}{n} + {n} =" for n in range(1, 9)]
    plain = [tokenizer(c.text, add_special_tokens=False)["input_ids"] for c in generate_40(model, tokenizer, prompts)]
    model.generation_config.eos_token_id = late_stop(tokenizer, plain)  # the random model hardly ever ends by itself
    written = model.generation_config.eos_token_id[1]
    try:
        ours = generate_40(model, tokenizer, prompts)
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        theirs = model.generate(**encoded, max_new_tokens=40, do_sample=False)[:, encoded["input_ids"].shape[1] :]
    finally:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    texts = tokenizer.batch_decode(theirs, skip_special_tokens=True)
    assert {c.finish_reason for c in ours} == {"stop", "length"}
    for completion, row, text in zip(ours, theirs, texts, strict=True):
        ends = (row == written).nonzero().flatten().tolist()
        assert completion.tokens == (ends[0] + 1 if ends else 40)
        assert completion.finish_reason == ("stop" if ends else "length")
        assert text.startswith(completion.text)


def test_a_row_does_not_depend_on_its_neighbours_in_float32(tiny):
    model, tokenizer = tiny
    prompts = ["one", "a much longer prompt than the first one", "three"]
    together = generate(model, tokenizer, prompts, max_new_tokens=12)
    assert together == [generate(model, tokenizer, [p], max_new_tokens=12)[0] for p in prompts]


def test_sampling_repeats_with_its_seed_and_differs_with_another(tiny):
    model, tokenizer = tiny
    draw = {"max_new_tokens": 20, "temperature": 1.0, "top_k": 50}
    first = generate(model, tokenizer, ["a", "b"], seed=1, **draw)
    torch.rand(7)  # the global random state does not matter
    assert first == generate(model, tokenizer, ["a", "b"], seed=1, **draw)
    assert first != generate(model, tokenizer, ["a", "b"], seed=2, **draw)


def test_top_k_and_top_p_cut_the_tail():
    logits = torch.tensor([[2.0, 1.9, 1.8, -9.0, -9.0]]).repeat(500, 1)
    generator = torch.Generator().manual_seed(0)
    assert set(choose(logits, 1.0, 2, 1.0, generator).tolist()) == {0, 1}
    assert set(choose(logits, 1.0, 0, 0.3, generator).tolist()) == {0}
    assert set(choose(logits, 1.0, 0, 1.0, generator).tolist()) >= {0, 1, 2}
    assert choose(logits, 0.0, 0, 1.0, generator).tolist() == [0] * 500
    for temperature, top_p in ((1e-300, 1.0), (1e-9, 0.9), (1.0, 1e-300), (1e-300, 1e-300)):  # that float32 has not
        assert choose(logits, temperature, 0, top_p, generator).tolist() == [0] * 500


def test_batches_hold_every_index_once_longest_first():
    lengths = [5, 9, 1, 9, 7]
    assert plan_batches(lengths, 2) == [[1, 3], [4, 0], [2]]


def test_a_model_without_chat_template_gets_plain_text(tiny):
    _, tokenizer = tiny
    messages = [{"role": "user", "content": "1 + 1?"}]
    assert render(tokenizer, messages).endswith("<|im_start|>assistant\n")
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        assert render(tokenizer, messages) == "1 + 1?\n"
    finally:
        tokenizer.chat_template = template


# what long prompts share, and stop strings


def test_a_beginning_that_all_prompts_share_is_read_once_and_changes_nothing(tiny, monkeypatch):
    model, tokenizer = tiny
    shots = "Problem: what is 1 + 1?\nSolution: 2\n\n" * 8
    prompts = [shots + text for text in ("Problem: 3 + 4?", "Problem: how much is 12 + 30 and 9?", "P", "Q")]
    widths = []
    forward = type(model).forward

    def watched(self, input_ids, **kwargs):
        widths.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(type(model), "forward", watched)
    together = generate(model, tokenizer, prompts, max_new_tokens=12)
    assert widths[0][0] == 1 and widths[0][1] >= len(shots) and widths[1][1] < 60
    monkeypatch.setattr(cft.models.decoding, "SHARED", 10**6)
    assert together == generate(model, tokenizer, prompts, max_new_tokens=12)


def test_every_prompt_keeps_a_token_of_its_own():
    same = list(range(200))
    assert shared_prefix([same, same]) == 199 and shared_prefix([same]) == 0
    assert shared_prefix([same, [*same[:150], 7, 8]]) == 150 and shared_prefix([same, same[:100]]) == 0


def test_an_answer_ends_before_a_stop_string(tiny):
    model, tokenizer = tiny
    prompts = ["one", "a longer prompt", "three"]
    free = generate(model, tokenizer, prompts, max_new_tokens=40)
    stop = next(c.text[9:12] for c in free if len(c.text) > 12)
    stopped = generate(model, tokenizer, prompts, max_new_tokens=40, stop_strings=[stop])
    for before, after in zip(free, stopped, strict=True):
        if stop in before.text:
            assert after.text == before.text.partition(stop)[0] and after.finish_reason == "stop"
            assert after.tokens < before.tokens
        else:
            assert after == before
    assert any(c.finish_reason == "stop" for c in stopped)


def test_no_prompt_is_padded_to_more_than_twice_its_length():
    lengths = [835, 600, 500, 400, 300, 250, 210, *[120] * 130, *[30] * 60]
    batches = plan_batches(lengths, 100)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= 100 and lengths[batch[0]] <= 2 * max(lengths[batch[-1]], cft.models.decoding.SHORT)


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        (LLAMA, "Today Date: 26 Jul 2024\n"),
        ("{%- set today = strftime_now('%Y-%m-%d') %}{{- today }}", "2024-07-26"),
        ("{{- 'strftime_now is' }}", "strftime_now is"),
    ],
)
def test_a_prompt_does_not_hold_the_date_of_the_day(tmp_path: Path, start, wanted):
    make_tiny_model(tmp_path / "base", chat_template=start + CHAT_TEMPLATE)
    asked, answer = {"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}
    raw = AutoTokenizer.from_pretrained(tmp_path / "base")
    if "%" in start.replace("{%", "").replace("%}", ""):
        assert str(date.today().year) in render(raw, [asked])  # transformers tells templates the real date
    tokenizer = load_tokenizer(ModelBlock(id=str(tmp_path / "base")))
    prompt = render(tokenizer, [asked])
    assert prompt.startswith(wanted + "<|im_start|>user")
    row = tokenize_row({"id": "r", "prompt": [asked], "completion": [answer]}, tokenizer)
    assert tokenizer.decode(row.input_ids).startswith(prompt)
    raw.save_pretrained(tmp_path / "adapter")
    check_tokenizer(tmp_path / "adapter", tokenizer)  # an adapter from elsewhere has the template as it was


def test_a_token_is_drawn_as_torch_draws_it():
    logits = torch.randn(7, 1000, generator=torch.Generator().manual_seed(1)) * 4
    for seed in range(20):
        drawn = choose(logits, 0.8, 1000, 1.0, torch.Generator().manual_seed(seed))
        values, ids = (logits / 0.8).sort(descending=True)
        expected = torch.multinomial(values.softmax(-1), 1, generator=torch.Generator().manual_seed(seed))
        assert drawn.tolist() == ids.gather(1, expected).squeeze(1).tolist()


@pytest.mark.parametrize("top_k", [0, 5])  # drawn in two ways
def test_tokens_are_drawn_as_often_as_they_are_likely(top_k):
    logits = torch.tensor([[2.0, -1.0, 0.5, float("-inf"), 1.0]])
    drawn = choose(logits.repeat(40_000, 1), 0.7, top_k, 1.0, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=5) / 40_000
    assert shares[3] == 0
    torch.testing.assert_close(shares, (logits[0] / 0.7).softmax(-1), rtol=0, atol=0.01)  # 4 standard errors
