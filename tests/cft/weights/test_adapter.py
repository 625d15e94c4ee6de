"""A trained folder that is damaged, or wants to run code, is an error that names its file."""

import json
from pathlib import Path

import pytest

from cft.errors import CFTError, EvalError
from cft.export.vllm import vllm_faults
from cft.models.load import load_model, load_tokenizer
from cft.recipe.blocks import ModelBlock
from cft.train.card import add_scores
from cft.weights.adapter import adapter_identity, attach, check_tokenizer
from tests.support.evaluating import make_adapter


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    return make_adapter(tiny_model, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("adapter_model.safetensors", b"", "is damaged"),
        ("adapter_model.safetensors", b"\x10\0\0\0\0\0\0\0{", "is damaged"),
        ("adapter_config.json", b'{"r": 4', "is not JSON"),
        ("adapter_config.json", b"[1, 2]", "is a JSON list"),
        ("adapter_config.json", b"\xff\xfe{}", "UTF-16"),
        ("adapter_config.json", b"[" * 100_000, ""),
        ("adapter_config.json", b'{"r": "many"}', "r"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(adapter, file, content, words):
    (adapter / file).write_bytes(content)
    with pytest.raises(CFTError, match=rf"(?is){file}: .*{words}.*delete .* and give the command again"):
        adapter_identity(adapter)


def test_half_of_the_weights_are_no_adapter(adapter):
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(EvalError, match="is damaged"):
        adapter_identity(adapter)


@pytest.mark.parametrize(
    "change", [{"target_modules": 5}, {"peft_type": "NONE"}, {"peft_type": None}, {"rank_pattern": {"(": 3}}, {"r": -1}]
)
def test_settings_that_peft_cannot_take_are_an_error(tiny_model, adapter, change):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | change))
    vllm_faults(adapter)
    with pytest.raises(EvalError, match="does not fit the model"):
        attach(load_model(ModelBlock(id=str(tiny_model))), adapter, str(tiny_model), "adapter")


def test_a_tokenizer_that_brings_code_is_refused_without_a_question(tiny_model, adapter, monkeypatch):
    tokenizer = load_tokenizer(ModelBlock(id=str(tiny_model)))
    tokenizer.save_pretrained(adapter)
    settings = json.loads((adapter / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["odd.Odd", None]}}
    (adapter / "tokenizer_config.json").write_text(json.dumps(settings))
    (adapter / "odd.py").write_text("raise SystemExit('code of the adapter ran')\n")
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("a question"))
    with pytest.raises(EvalError, match="code that it brings is never run"):
        check_tokenizer(adapter, tokenizer)


def test_scores_need_no_card(adapter):
    add_scores(adapter, {"task": "t", "arms": [], "comparisons": []})
    (adapter / "README.md").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CFTError, match=r"README\.md"):
        add_scores(adapter, {"task": "t", "arms": [], "comparisons": []})
