"""What vLLM would refuse is told before a server is started, with the key to change; what it serves gets a command."""

import io
import json
import shlex

import pytest
from rich.console import Console
from transformers import AutoTokenizer

from cft.export.export import export
from cft.export.trained import open_trained
from cft.export.vllm import RANKS, vllm_faults, vllm_rank
from tests.support.exporting import front, make_base, make_run, save_adapter


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    return make_run(root, make_base(tiny_model, root / "base"), r=12)


def test_an_adapter_that_is_served_gets_the_command(run):
    done = export(open_trained(run), ["adapter"], None, Console(file=io.StringIO()))["adapter"]
    words = shlex.split(done["vllm"]["command"])
    assert done["vllm"]["faults"] == [] and words[:2] == ["vllm", "serve"]
    assert words[words.index("--max-lora-rank") + 1] == "16"  # the smallest allowed one that is not below 12
    assert words[words.index("--lora-modules") + 1] == f"handed={done['path']}"
    tokenizer = AutoTokenizer.from_pretrained(words[words.index("--tokenizer") + 1])
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.chat_template
    assert "base_model_relation" not in front(run.path / "export" / "adapter")  # a local base has no name on a hub


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (2, 8), (8, 8), (9, 16), (200, 256), (257, 320), (512, 512)])
def test_the_rank_is_the_next_allowed_one(rank, allowed):
    assert vllm_rank(rank) == allowed and vllm_rank(RANKS[-1] + 1) is None


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"use_dora": True}, "train.lora.use_dora"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "train.lora.modules_to_save"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "train.lora.target_modules has embed_tokens"),
        ({"target_modules": ["q_proj", "lm_head"]}, "train.lora.target_modules has lm_head"),
        ({"trainable_token_indices": [1, 2]}, "train.lora.trainable_token_indices"),
        ({"alpha_pattern": {"q_proj": 64}}, "train.lora.alpha_pattern"),
        ({"rank_pattern": {"q_proj": 2}}, "train.lora.rank_pattern"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_not_served_names_the_key(run, tmp_path, lora, words):
    save_adapter(open_trained(run).recipe, tmp_path / "adapter", 0.02, **lora)
    assert any(fault.startswith(words) for fault in vllm_faults(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"r": 600}, "train.lora.r is 600: at most 512"), ({"bias": "all"}, "train.lora.bias"),
     ({"init_lora_weights": "pissa_niter_4"}, "it altered the base too"),
     ({"peft_type": "IA3"}, "only LoRA is served")],
)  # fmt: skip
def test_settings_that_are_not_served_are_named(run, tmp_path, setting, words):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((run.adapter / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | setting))
    [fault] = vllm_faults(tmp_path)
    assert words in fault
