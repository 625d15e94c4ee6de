"""Whatever is wrong with a model's files or its chat template, it is named, with the file, and nothing hangs."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from cft.errors import ModelError
from cft.models.generate import render
from cft.models.load import load_model, load_tokenizer
from cft.models.source import architecture_of, resolve
from cft.recipe.blocks import ModelBlock
from cft.rows import tokenize_row

pytestmark = pytest.mark.usefixtures("no_hub")

DEEP = "[" * 3000 + "]" * 3000
HEADER = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def use(folder: Path) -> None:
    """All that a plan, a training and an evaluation do with a model's folder."""
    block = ModelBlock(id=str(folder))
    architecture_of(resolve(block))
    load_tokenizer(block)
    load_model(block)


def edited(path: Path, **changes) -> bytes:
    return json.dumps(json.loads(path.read_text("utf-8")) | changes).encode()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", b"[1]", "config.json: is a JSON list, not an object"),
        ("config.json", b"{", "config.json: is not JSON"),
        ("config.json", DEEP.encode(), "config.json: is nested too deeply"),
        ("config.json", '{"a": 1}'.encode("utf-16"), "config.json: is UTF-16"),
        ("config.json", b"", "config.json: is not JSON"),
        ("config.json", {"hidden_size": 0}, "config.json: hidden_size: is 0"),
        ("config.json", {"hidden_size": -64}, "config.json: hidden_size: is -64"),
        ("config.json", {"num_attention_heads": 0}, "num_attention_heads: is 0"),
        ("config.json", {"num_attention_heads": "4"}, "num_attention_heads: is '4', input should be a valid integer"),
        ("config.json", {"vocab_size": 10**30}, "vocab_size: is 1000"),
        ("config.json", {"text_config": 5}, "text_config: is 5"),
        ("config.json", {"model_type": ["qwen2"]}, "cannot be loaded from"),
        ("config.json", {"hidden_act": "__import__('os').system('x')"}, "cannot be loaded from .*KeyError"),
        ("generation_config.json", {"eos_token_id": "5"}, "generation_config.json: eos_token_id"),
        ("generation_config.json", DEEP.encode(), "generation_config.json: is nested too deeply"),
        ("tokenizer.json", DEEP.encode(), "its tokenizer cannot be loaded from"),
        ("tokenizer.json", b"[]", "its tokenizer cannot be loaded from"),
        ("tokenizer_config.json", b"[1]", "its tokenizer cannot be loaded from"),
        ("tokenizer_config.json", {"eos_token": 5}, "its tokenizer cannot be loaded from"),
        ("tokenizer_config.json", {"model_max_length": "5"}, "its tokenizer cannot be loaded from"),
        ("model.safetensors.index.json", b"[1]", "lacks a readable model.safetensors.index.json .*is a JSON list"),
        ("model.safetensors.index.json", DEEP.encode(), "readable model.safetensors.index.json .*nested"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "model.safetensors"}}', "metadata: is missing"),
        ("model.safetensors.index.json", b'{"metadata": {}, "weight_map": {"a": 5}}', "weight_map.a: is 5"),
        ("model.safetensors.index.json", b'{"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}}', "pattern"),
        ("model.safetensors.index.json", b'{"metadata": {}, "weight_map": {"a": "../x.safetensors"}}', "pattern"),
        ("adapter_config.json", b"[1]", "adapter_config.json: is a JSON list"),
    ],
)
def test_a_damaged_file_of_a_model_is_named(folder: Path, name: str, content, words: str):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else edited(path, **content))
    if name == "adapter_config.json":
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=words):
        use(folder)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "BF16", "data_offsets": [0, 8]}},
        {"a": HEADER | {"data_offsets": [0]}},
        {"a": HEADER | {"shape": ["2", 2]}},
        {"a": HEADER | {"shape": 4}},
        {"a": HEADER | {"shape": None}},
        {"a": HEADER | {"shape": [2**62, 2**62]}},
        {"a": HEADER | {"shape": [-2, -2]}},
        {"a": 5},
        [1, 2],
        "deep",
    ],
)
def test_a_damaged_header_of_weights_is_named(folder: Path, header):
    text = (json.dumps(header) if header != "deep" else '{"a": ' + DEEP + "}").encode()
    (folder / "extra.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ModelError, match=r"extra.safetensors: is no whole safetensors file \("):
        use(folder)


def test_a_folder_in_the_place_of_weights_is_named(folder: Path):
    (folder / "extra.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"extra.safetensors: is a folder, not a file"):
        use(folder)


@pytest.mark.parametrize("name", ["a" * 300, "~nobody-here/model", "x\0y", "/etc/passwd/model"])
def test_a_name_that_is_no_path_is_refused_in_words(name: str):
    with pytest.raises(ModelError, match=r"cannot be used as a path|no such folder"):
        resolve(ModelBlock(id=name))


TEMPLATES = {
    "{{ 1 / 0 }}": "division by zero",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ i * j }}{% endfor %}{% endfor %}": "within 1 s and 1 GB",
    "{% set x = namespace(s='a') %}{% for i in range(99) %}{% set x.s = x.s ~ x.s %}{% endfor %}": "MemoryError|within",
    "{{ 'a' * 10 ** 12 }}": "MemoryError",
    "{{ 9 ** (9 ** 9) }}": "within 1 s",
    "{{ 'a' * 10 ** 6 }}": "it writes 1,000,000 characters",
    "{{ range(10 ** 9) | list }}": "Range too big",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "recursion",
    "{{ ''.__class__.__mro__ }}": "unsafe",
    "{% include 'other' %}": "no loader",
    "{{ messages | nope }}": "No filter named 'nope'",
    "{{ messages[5].content }}": "no element 5",
    "{{ raise_exception('no') }}": "no",
    "{{ '%d' % 'x' }}": "number is required",
    "{{ strftime_now(5) }}": "must be str",
    "{{ messages.append(1) }}": "unsafe",
    "{{ '\\ud800' }}": "surrogates not allowed",
    "{% for m in messages %}": "end of template|Unexpected end",
    "{{ (((" * 500: "template|nested|recursion|expected",
}


@pytest.mark.parametrize("template", TEMPLATES, ids=range(len(TEMPLATES)))
def test_a_template_that_fails_or_never_ends_is_named_and_its_words_are_told(
    template, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cft.models.template.MOST_SECONDS", 1)
    path = tmp_path / "own.jinja"
    path.write_text(template)
    with pytest.raises(ModelError, match=rf"own.jinja [^\n]*({TEMPLATES[template]})"):
        load_tokenizer(ModelBlock(id=str(folder), chat_template=str(path)))
    if len(template) < 40:
        (folder / "chat_template.jinja").write_text(template)
        with pytest.raises(ModelError, match=rf"{folder} [^\n]*({TEMPLATES[template]})"):
            load_tokenizer(ModelBlock(id=str(folder)))


def test_a_template_without_a_role_is_named_where_a_prompt_needs_the_role(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "own.jinja"
    path.write_text(
        "{% for m in messages %}{{ raise_exception('System role not supported') if m.role == 'system' }}"
        "{{ m.content }}{% endfor %}"
    )
    tokenizer = load_tokenizer(ModelBlock(id=str(tiny_model), chat_template=str(path)))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    with pytest.raises(ModelError, match="cannot render messages of system, user: System role not supported"):
        render(tokenizer, messages)
    row = {"id": "1", "prompt": messages, "completion": [{"role": "assistant", "content": "2"}]}
    with pytest.raises(ModelError, match="cannot render messages of system, user"):
        tokenize_row(row, tokenizer)


@pytest.mark.parametrize("place", ["/dev/zero", "folder", "a" * 300])
def test_a_template_that_is_no_file_is_refused(place: str, tiny_model: Path):
    with pytest.raises(ModelError, match=r"is a device|is a folder|as a path"):
        load_tokenizer(ModelBlock(id=str(tiny_model), chat_template=place.replace("folder", str(tiny_model))))
