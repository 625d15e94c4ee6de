"""Modelfiles: the Go template says what the chat template says, answers end, and what cannot be said is refused."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from cft.errors import RunError
from cft.export.export import export
from cft.export.ollama import find_turns, modelfile
from cft.export.trained import open_trained
from cft.models.load import PLAIN_TEMPLATE
from tests.support.exporting import make_base, make_run
from tests.support.tiny import CHAT_TEMPLATE

QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are {{ '{{' }}a helper}}.<|im_end|>\n{% endif %}"
    + CHAT_TEMPLATE
)
LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TEMPLATES = {"chatml": CHAT_TEMPLATE, "qwen": QWEN, "plain": PLAIN_TEMPLATE.read_text(), "llama": LLAMA, "gemma": GEMMA}
CONVERSATION = [("system", "Be brief."), ("user", "What is 1+1?"), ("assistant", "2."), ("user", "And 2+2?")]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


def render_go(template: str, messages: list[dict]) -> str:
    """As much of Go's text/template as our templates use: if/else on .System and .Role, range, quoted text."""
    system = next((m["content"] for m in messages if m["role"] == "system"), "")
    head, loop, tail = re.fullmatch(r"(.*?)\{\{ range \.Messages }}(.*)\{\{ end }}(.*)", template, re.S).groups()

    def plain(text: str) -> str:
        return text.replace('{{ "{{" }}', "{{")

    if found := re.fullmatch(r"\{\{ if \.System }}(.*?)(?:\{\{ else }}(.*))?\{\{ end }}", head, re.S):
        head = found[1].replace("{{ .System }}", system) if system else found[2] or ""
    shape = r'\{\{ if eq \.Role "user" }}(.*)\{\{ else if eq \.Role "assistant" }}(.*)\{\{ end }}'
    user, said = re.fullmatch(shape, loop, re.S).groups()
    texts = [
        (user if m["role"] == "user" else said).replace("{{ .Content }}", m["content"])
        for m in messages
        if m["role"] != "system"
    ]
    return plain(head + "".join(texts) + tail)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("taken", [slice(1, 2), slice(1, 4), slice(0, 2), slice(0, 4)])
def test_it_writes_what_the_chat_template_writes(tokenizer, name, taken):
    tokenizer.chat_template = TEMPLATES[name]
    messages = [{"role": role, "content": content} for role, content in CONVERSATION[taken]]
    if name == "gemma" and taken.start == 0:
        assert "{{ .System }}" not in find_turns(tokenizer).go_template()
        return
    wanted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert render_go(find_turns(tokenizer).go_template(), messages) == wanted


def test_a_template_that_numbers_its_turns_is_refused(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}[{{ loop.index }}]{{ m['content'] }}\n{% endfor %}"
    with pytest.raises(RunError, match=r"each message alike\. Write the Modelfile's TEMPLATE by hand"):
        find_turns(tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'][0].nothing.at_all }}"
    with pytest.raises(RunError, match="cannot be read"):
        find_turns(tokenizer)


def test_the_file_stops_where_answers_end_and_is_greedy(tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    lines = modelfile(tokenizer, "./a.gguf", context=4096, answer=448, temperature=0.0).splitlines()
    assert lines[0] == "FROM ./a.gguf"
    for line in ('PARAMETER stop "<|im_end|>"', "PARAMETER num_ctx 4096", "PARAMETER num_predict 448",
                 "PARAMETER temperature 0", "PARAMETER repeat_penalty 1.0"):  # fmt: skip
        assert line in lines


def test_without_a_gguf_it_stands_in_the_merged_folder(tiny_model, tmp_path):
    run = make_run(tmp_path, make_base(tiny_model, tmp_path / "base"))
    console = Console(file=io.StringIO())
    done = export(open_trained(run), ["ollama"], None, console)
    assert list(done) == ["merged", "ollama"] and Path(done["ollama"]["path"]).read_text().startswith("FROM .\n")
    again = export(open_trained(run), ["ollama"], None, console)
    assert not again["merged"]["made"] and again["ollama"] == done["ollama"]
