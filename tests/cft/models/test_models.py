"""What `model.id` may be, what is refused, and what a loaded model and tokenizer promise."""

import importlib.util
import json
import shutil
import struct
from pathlib import Path

import pytest

from cft.errors import ModelError
from cft.models.generate import render
from cft.models.load import load_model, load_tokenizer
from cft.models.source import count_parameters, fetch_model, list_models, resolve
from cft.recipe.blocks import ModelBlock
from tests.support.tiny import make_tiny_model, write_gguf, write_models_file

REVISION = "0123456789abcdef0123456789abcdef01234567"
pytestmark = pytest.mark.usefixtures("no_hub")


@pytest.fixture
def named(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> ModelBlock:
    """The tiny model under the name `tiny`, with a hub id, already in the cache."""
    entry = {"hub_id": "test-org/tiny", "revision": REVISION, "licence": "CC0-1.0", "parameters": 99}
    entry["sources"] = [{"kind": "hub", "download_mb": 1, "cached_mb": 1}]
    monkeypatch.setenv("CFT_MODELS", str(write_models_file(tmp_path / "models.yaml", tiny=entry)))
    folder = tmp_path / "cache" / "models" / "tiny"
    folder.mkdir(parents=True)
    record = {"name": "tiny", "kind": "hub", "folder": str(tiny_model), "licence": "CC0-1.0", "note": ""}
    (folder / "cft_source.json").write_text(json.dumps(record | {"hub_id": "test-org/tiny", "revision": REVISION}))
    return ModelBlock(id="tiny")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def refused(words: str, do=resolve, **block) -> None:
    """What `do` says of this model block."""
    with pytest.raises(ModelError, match=words):
        do(ModelBlock(**block))


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


# --- what model.id may be


def test_shipped_names_are_complete_and_not_cached():
    rows = {row["name"]: row for row in list_models()}

    assert {"smollm2-135m", "gemma3-270m", "qwen2.5-coder-0.5b", "qwen2.5-math-1.5b"} <= set(rows)
    for name, row in rows.items():
        assert row["licence"] and row["download"].endswith("MB") and not row["cached"]
        source = resolve(ModelBlock(id=name), fetch=False)
        assert (source.cached, source.location) == (False, row["hub_id"])
        assert source.hub_revision is None or len(source.hub_revision) == 40
        assert source.parameters > 1e8
        with pytest.raises(ModelError, match="not fetched"):
            _ = source.identity


@pytest.mark.parametrize(
    "name, near", [("smolm2-135m", "smollm2-135m"), ("Qwen2.5-Coder-0.5B-it", "qwen2.5-coder-0.5b")]
)
def test_an_unknown_name_suggests_the_nearest(name: str, near: str):
    refused(rf"{name}.*Did you mean.*{near}.*cft models", id=name)


def test_a_hub_id_out_of_reach_offers_the_same_base_without_the_hub():
    block = ModelBlock(id="HuggingFaceTB/SmolLM2-135M-Instruct")

    assert not resolve(block, fetch=False).cached
    with pytest.raises(ModelError, match=r"does not answer.*model.id=smollm2-135m"):
        resolve(block)
    refused(r"test-org/none.*does not answer", id="test-org/none")


def test_another_revision_of_a_name_is_not_taken_from_the_pinned_weights(named: ModelBlock):
    assert resolve(named.model_copy(update={"revision": REVISION})).cached
    other = resolve(named.model_copy(update={"revision": "main"}), fetch=False)
    assert (other.cached, other.hub_id, other.hub_revision) == (False, "test-org/tiny", "main")


@pytest.mark.parametrize("name", ["./nowhere", "/no/where/at/all", "~/no-such-folder", "a/b/c"])
def test_a_path_to_nothing_is_no_hub_id(name: str):
    refused("no such folder", id=name)


def test_a_local_folder_is_what_its_files_are(folder: Path, tmp_path: Path):
    source, model = resolve(ModelBlock(id=str(folder)), fetch=False), load_model(ModelBlock(id=str(folder)))
    assert (source.kind, source.cached, source.location) == ("folder", True, str(folder))
    assert source.parameters == sum(p.numel() for p in model.parameters())
    assert model.name_or_path == model.config._name_or_path == str(folder)

    identity = source.identity
    moved = folder.rename(tmp_path / "moved")
    assert resolve(ModelBlock(id=str(moved))).identity == identity
    edit_json(moved / "config.json", rms_norm_eps=0.5)
    assert resolve(ModelBlock(id=str(moved))).identity != identity
    assert fetch_model(str(moved)) == moved


@pytest.mark.parametrize(
    "lost", [["config.json"], ["model.safetensors"], ["tokenizer.json"], ["config.json", "tokenizer.json"]]
)
def test_a_folder_that_is_no_model_says_what_it_lacks(folder: Path, lost: list[str]):
    for name in lost:
        (folder / name).unlink()

    refused(f"is no model folder, it lacks {', '.join(lost)}", id=str(folder))


def test_pickled_weights_are_not_loaded_and_missing_shards_are_named(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(r"pytorch_model.bin is a pickle", id=str(folder))

    (folder / "pytorch_model.bin").rename(folder / "model-00001-of-00002.safetensors")
    index = {
        "metadata": {},
        "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    refused(r"lacks model-00002-of-00002.safetensors\.", id=str(folder))


def test_weights_that_are_cut_off_are_refused(folder: Path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused("is no whole safetensors file", id=str(folder))

    for content in (b"", struct.pack("<Q", 10**15) + b"?", b"\x10" + b"\0" * 7 + b"[1, 2, 3, 4, 5] "):
        weights.write_bytes(content)
        with pytest.raises(ModelError, match="is no whole safetensors file"):
            count_parameters(folder)


def test_an_adapter_is_not_a_model_and_its_base_is_named(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "test-org/base"}))

    refused(r"PEFT adapter.*'test-org/base'", id=str(tmp_path))


def test_a_gguf_file_is_unpacked_once(tmp_path: Path):
    import torch

    write_gguf(tmp_path / "own.gguf")
    block = ModelBlock(id=str(tmp_path / "own.gguf"))

    assert not resolve(block, fetch=False).cached
    model = load_model(block)
    assert model.dtype == torch.bfloat16 and not hasattr(model.config, "quantization_config")
    assert model.name_or_path == block.id and load_tokenizer(block).eos_token == "<|im_end|>"
    source = resolve(block, fetch=False)
    assert source.cached and source.kind == "gguf"
    write_gguf(tmp_path / "own.gguf", seed=1)
    assert resolve(block).identity != source.identity


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path):
    (tmp_path / "bad.gguf").write_bytes(b"not a model")

    refused(r"bad.gguf: cannot be read as a GGUF model", id=str(tmp_path / "bad.gguf"))
    refused("no such file", id=str(tmp_path / "none.gguf"))


def test_faults_of_a_models_file_are_listed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    entry = {"hub_id": "tiny", "licence": "x", "parameters": "many", "sources": [], "size": 3}
    path = write_models_file(tmp_path / "models.yaml", tiny=entry)
    monkeypatch.setenv("CFT_MODELS", str(path))

    with pytest.raises(ModelError) as error:
        list_models()
    for field in ("hub_id", "parameters", "sources", "size"):
        assert f"tiny.{field}:" in str(error.value)
    path.write_text("a: [")
    with pytest.raises(ModelError, match="is not YAML"):
        list_models()
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        list_models()


# --- models


def test_an_adapter_names_the_public_base_and_revision(named: ModelBlock, tmp_path: Path, tiny_model: Path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model = load_model(named)
    assert not model.training
    lora = LoraConfig(r=2, target_modules="all-linear", revision=resolve(named).hub_revision)
    get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")

    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("test-org/tiny", REVISION)
    written = [path.read_text("utf-8") for path in (tmp_path / "adapter").iterdir() if path.suffix in (".json", ".md")]
    assert not any(str(place) in text for text in written for place in (tmp_path, tiny_model))
    PeftModel.from_pretrained(load_model(ModelBlock(id=str(tiny_model))), tmp_path / "adapter")


def test_the_dtype_is_the_recipes(tiny_model: Path):
    import torch

    for name in ("float32", "bfloat16"):
        model = load_model(ModelBlock(id=str(tiny_model), dtype=name, attn_implementation="eager"), device="cpu")
        assert {p.dtype for p in model.parameters()} == {getattr(torch, name)}
        assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}, r"lacks \d+ weights .* first model.layers.2"),
        ({"intermediate_size": 64}, r"mlp.down_proj.weight is \(64, 128\), but config.json says \(64, 64\)"),
        ({"model_type": "no-such-model"}, "cannot be loaded from"),
        ({"model_type": "vit"}, "cannot be loaded from"),
        ({"hidden_size": "wide"}, "cannot be loaded from"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_the_users_fault(folder: Path, change: dict, message: str):
    edit_json(folder / "config.json", **change)

    refused(message, load_model, id=str(folder))


def test_an_unknown_attention_is_the_users_fault(tiny_model: Path):
    refused(r"cannot be loaded.*attn", load_model, id=str(tiny_model), attn_implementation="fast")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is here")
def test_nf4_without_bitsandbytes_names_the_extra(tiny_model: Path):
    refused(r"one-problem-cft\[gpu\]", load_model, id=str(tiny_model), quantization="nf4")


# --- tokenizers


def test_the_tokenizer_pads_left_with_a_token_of_its_own(tiny_model: Path):
    tokenizer = load_tokenizer(ModelBlock(id=str(tiny_model)))

    assert tokenizer.padding_side == "left"
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_pad_token_that_is_eos_is_replaced(folder: Path):
    edit_json(folder / "tokenizer_config.json", pad_token="<|im_end|>", unk_token="<|endoftext|>")
    assert load_tokenizer(ModelBlock(id=str(folder))).pad_token == "<|endoftext|>"

    edit_json(folder / "tokenizer_config.json", pad_token=None, unk_token=None)
    refused(r"nothing to pad with but eos \('<\|im_end\|>'\)", load_tokenizer, id=str(folder))


def test_eos_is_what_ends_a_turn(folder: Path):
    """Qwen2.5-Math's base model: its template ends turns in <|im_end|>, its eos and pad are <|endoftext|>."""
    edit_json(
        folder / "tokenizer_config.json", eos_token="<|endoftext|>", extra_special_tokens=["<|im_start|>", "<|im_end|>"]
    )

    tokenizer = load_tokenizer(ModelBlock(id=str(folder)))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_a_base_model_without_chat_template_stays_so(tmp_path: Path):
    make_tiny_model(tmp_path / "base", chat_template=None)
    block = ModelBlock(id=str(tmp_path / "base"))
    messages = [{"role": "user", "content": " 2+2? "}, {"role": "assistant", "content": "4"}]

    assert load_tokenizer(block).chat_template is None
    plain = load_tokenizer(block.model_copy(update={"chat_template": "plain"}))
    prompt = render(plain, messages[:1])
    whole = plain.apply_chat_template(messages, tokenize=False)
    assert prompt == "Question: 2+2?\nAnswer:" and whole == "Question: 2+2?\nAnswer: 4<|im_end|>"
    system = [{"role": "system", "content": "Be brief."}]
    assert plain.apply_chat_template(system + messages + messages[:1], tokenize=False, add_generation_prompt=True) == (
        f"Be brief.\n\n{whole}\n\n{prompt}"
    )


def test_the_plain_template_starts_with_bos_where_the_model_is_used_to_it(folder: Path):
    from tokenizers import Tokenizer, processors

    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", raw.token_to_id("<|im_start|>"))]
    )
    raw.save(str(folder / "tokenizer.json"))
    edit_json(folder / "tokenizer_config.json", bos_token="<|im_start|>")

    tokenizer = load_tokenizer(ModelBlock(id=str(folder), chat_template="plain"))
    assert render(tokenizer, [{"role": "user", "content": "a"}]) == "<|im_start|>Question: a\nAnswer:"


def test_a_template_of_ones_own(tiny_model: Path, tmp_path: Path):
    path = tmp_path / "own.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %} =>")
    block = ModelBlock(id=str(tiny_model), chat_template=str(path))
    assert render(load_tokenizer(block), [{"role": "user", "content": "hi"}]) == "hi =>"

    path.write_text("{% for m in messages %}")
    with pytest.raises(ModelError, match=r"own.jinja cannot be rendered"):
        load_tokenizer(block)
    path.unlink()
    with pytest.raises(ModelError, match=r"own.jinja: cannot be read, there is no such file"):
        load_tokenizer(block)


def test_a_broken_tokenizer_is_the_users_fault(folder: Path):
    (folder / "tokenizer.json").write_text("{")

    refused("tokenizer cannot be loaded", load_tokenizer, id=str(folder))
