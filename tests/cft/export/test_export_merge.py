"""A merged model answers as its adapter does, whatever the adapter is; one that does not is refused."""

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from cft.errors import CFTError, EvalError, RunError
from cft.export.export import export
from cft.export.trained import open_trained
from cft.files import sha256_file, write_jsonl
from cft.weights.compare import difference, is_same_model
from cft.weights.merge import rounded
from tests.support.command import cft
from tests.support.exporting import make_base, make_run, record, save_adapter


@pytest.fixture(scope="module")
def base(tiny_model, tmp_path_factory):
    return make_base(tiny_model, tmp_path_factory.mktemp("bases") / "base")


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def merge(run, said: Console | None = None, **how) -> dict:
    return export(open_trained(run, **how), ["merged"], None, said or console())["merged"]


def logits(model, ids) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids).logits.float()


def test_what_was_trained_on_prompts_is_compared_on_them(base, tmp_path):
    run = make_run(tmp_path, base, dtype="float32")
    recipe = yaml.safe_load(run.recipe.read_text())
    recipe["train"] = {"method": "grpo", "rewards": ["correct"]}
    recipe["data"] = {"builder": "prompts", "problems": ["bakery"]}
    run.recipe.write_text(yaml.safe_dump(recipe))
    write_jsonl(run.examples, [{"id": "one", "prompt": [{"role": "user", "content": "What is 2+2?"}], "answer": "4"}])
    assert merge(run)["check"]["positions"] > 0


KINDS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "head of a tied model": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings of a tied model": {"target_modules": ["q_proj", "embed_tokens"]},
    "a whole head of a tied model": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "ranks by layer": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_plain_transformers_gives_the_logits_of_plain_peft(base, tmp_path, kind):
    run = make_run(tmp_path, base, dtype="float32", **KINDS[kind])
    done = merge(run)
    tokenizer = AutoTokenizer.from_pretrained(done["path"])
    ids = tokenizer("What is 7 times 8? It is 56, \\boxed{56}.", return_tensors="pt")["input_ids"]
    merged = logits(AutoModelForCausalLM.from_pretrained(done["path"], dtype=torch.float32), ids)
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain = logits(loaded, ids)
    adapter = logits(PeftModel.from_pretrained(loaded, run.adapter).eval(), ids)
    assert (merged - adapter).abs().max() < 1e-3 < 0.1 < (adapter - plain).abs().max()
    assert done["check"]["top1_agreement"] == 1.0 and done["check"]["mean_kl"] < 1e-6 < done["effect_kl"]


def test_a_weak_adapter_survives_bfloat16(base, tmp_path):
    """Rounding to the nearest bfloat16 would put nearly all weights back where they were."""
    run = make_run(tmp_path, base, size=2e-4)
    said = console()
    done = merge(run, said)
    assert done["share_rounded_to_nearest"] < 0.5 and done["share"] == pytest.approx(1, abs=0.05)
    assert "is in the merged weights" in said.file.getvalue()
    again = make_run(tmp_path / "again", base, size=2e-4)
    merge(again)
    first, second = (folder.path / "export" / "merged" / "model.safetensors" for folder in (run, again))
    assert first.read_bytes() == second.read_bytes()


def test_rounding_is_right_on_average_and_leaves_what_fits():
    generator = torch.Generator().manual_seed(0)
    value = torch.full((200_000,), 1.0 + 2**-9)  # a quarter of the way between two neighbours
    found = rounded(value, torch.bfloat16, generator).float()
    assert set(found.tolist()) == {1.0, 1.0 + 2**-7} and found.mean().item() == pytest.approx(1 + 2**-9, abs=5e-5)
    exact = torch.tensor([0.0, -0.0, 1.5, -3.0, 2.0**-130, float("inf"), 3.3895313892515355e38])
    assert torch.equal(rounded(exact, torch.bfloat16, generator), exact.to(torch.bfloat16))
    assert rounded(torch.tensor([float("nan")]), torch.bfloat16, generator).isnan().all()
    negative = rounded(-value, torch.bfloat16, generator).float()
    assert negative.mean().item() == pytest.approx(-(1 + 2**-9), abs=5e-5)


def test_it_ends_where_the_chat_template_ends_and_does_not_sample(base, tmp_path):
    settings = json.loads((base / "generation_config.json").read_text())
    sampling = {"do_sample": True, "temperature": 0.7, "repetition_penalty": 1.1, "eos_token_id": 5}
    (base / "generation_config.json").write_text(json.dumps(settings | sampling))
    try:
        done = merge(make_run(tmp_path, base))
    finally:
        (base / "generation_config.json").write_text(json.dumps(settings))
    written = json.loads((Path(done["path"]) / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(done["path"])
    assert written["eos_token_id"] == [tokenizer.convert_tokens_to_ids("<|im_end|>"), 5]
    assert not written["do_sample"] and {"temperature", "repetition_penalty"}.isdisjoint(written)
    assert tokenizer.chat_template and tokenizer.eos_token == "<|im_end|>"
    assert len({path.stat().st_mode for path in Path(done["path"]).iterdir()}) == 1


def test_what_is_there_is_not_made_again_until_the_adapter_changes(base, tmp_path):
    run = make_run(tmp_path, base)
    first, second = merge(run), merge(run)
    assert (first["made"], second["made"]) == (True, False) and second["check"] == first["check"]
    trained = open_trained(run)
    save_adapter(trained.recipe, run.adapter, 0.05)
    third = merge(run)
    assert third["made"] and third["effect_kl"] > first["effect_kl"]
    assert not [path for path in (run.path / "export").iterdir() if path.name.startswith(".")]


def test_an_adapter_of_another_base_is_refused(base, tiny_model, tmp_path):
    from transformers import AutoConfig

    run = make_run(tmp_path, base)
    other = make_base(tiny_model, tmp_path / "other")
    text = (run.path / "recipe.yaml").read_text()
    (run.path / "recipe.yaml").write_text(text.replace(str(base), str(other)))
    with pytest.raises(EvalError, match="was trained on"):
        merge(run)
    config = AutoConfig.from_pretrained(base)
    config.hidden_size = 32
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    (run.adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(other)}))
    with pytest.raises(EvalError, match="does not fit the model"):
        merge(run)
    assert not (run.path / "export" / "merged").exists()


def test_weights_that_are_no_numbers_are_refused_and_leave_nothing(base, tmp_path):
    run = make_run(tmp_path, base, size=float("nan"))
    with pytest.raises(CFTError, match="NaN"):
        merge(run)
    assert list((run.path / "export").iterdir()) == []


def test_another_model_is_not_within_rounding():
    torch.manual_seed(0)
    adapter = [torch.randn(50, 100)]
    near = difference(adapter, [adapter[0] + 0.02 * torch.randn(50, 100)])
    far = difference(adapter, [adapter[0] + 0.5 * torch.randn(50, 100)])
    assert is_same_model(near) and is_same_model(near, 0.98) and not is_same_model(far)
    assert not is_same_model(near, 0.1) and not is_same_model(near, 2.0)  # nothing arrived; it was added twice
    assert not is_same_model(difference(adapter, [torch.full((50, 100), float("nan"))]))
    assert not is_same_model(difference(adapter, [torch.randn(50, 101)]))


def test_a_step_that_was_kept_is_exported_and_another_refused(base, tmp_path):
    run = make_run(tmp_path, base)
    save_adapter(open_trained(run).recipe, run.path / "train" / "steps" / "step-2", 0.05)
    done = merge(run, step=2)
    assert done["path"].endswith("export/step-2/merged") and record(run.path / "export/step-2/merged")
    with pytest.raises(RunError, match=r"--step 3: was not kept. Kept steps of .*: 2, 4"):
        open_trained(run, step=3)
    assert open_trained(run, step=4).folder == run.adapter


def fully_trained(root: Path, base: Path):
    run = make_run(root, base)
    shutil.rmtree(run.adapter)
    shutil.copytree(base, run.adapter)
    return run


def test_a_fully_trained_model_is_copied(base, tmp_path):
    run = fully_trained(tmp_path, base)
    said = console()
    done = merge(run, said)
    weights = sha256_file(run.adapter / "model.safetensors")
    assert done["copied"] == {"model.safetensors": weights} and not done["merged"]
    assert sha256_file(Path(done["path"]) / "model.safetensors") == weights
    assert "copied 1 file(s) of weights" in said.file.getvalue()
    assert AutoTokenizer.from_pretrained(done["path"]).chat_template
    with pytest.raises(RunError, match=r"has no adapter\. Give --to merged"):
        export(open_trained(run), ["adapter"], None, console())


def test_a_copy_that_is_another_file_is_refused(base, tmp_path):
    run = fully_trained(tmp_path, base)
    trained = open_trained(run)
    assert trained.identity["trained"]  # hashed, and then the file on the disk changes
    weights = run.adapter / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match=r"model\.safetensors: its copy is another file"):
        export(trained, ["merged"], None, console())
    assert list((run.path / "export").iterdir()) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_trained_on_4_bit_weights_is_merged_into_16_bit_ones_and_says_how_far_off(base, tmp_path):
    pytest.importorskip("bitsandbytes")
    from cft.train.sft import train

    run = make_run(tmp_path, base, quantization="nf4")
    recipe = open_trained(run).recipe
    folder = tmp_path / "trained"
    args = recipe.train.args | {"max_steps": 2, "gradient_accumulation_steps": 1}
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"args": args})})
    train(recipe, run.examples, folder, console=console())
    run.adapter.rename(tmp_path / "random")
    (folder / "adapter").rename(run.adapter)
    said = console()
    done = merge(run, said)
    assert done["check"]["mean_kl"] < 0.01 and done["against_4_bit"]["mean_kl"] > 3 * done["check"]["mean_kl"]
    assert "trained on 4-bit weights" in said.file.getvalue()
    [hint] = [line for line in said.file.getvalue().splitlines() if line.startswith("  cft eval ")]
    program, *arguments = shlex.split(hint)
    assert program == "cft" and "'eval.arms=[base]'" in hint  # a shell would look for files of this name
    items = tmp_path / "items.jsonl"
    items.write_text('{"problem": "1+1?", "answer": "2"}\n')
    scored = cft(*arguments, f"eval.data.cft_math500={items}", "--runs", str(tmp_path), cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert json.loads((run.path / "export/merged/config.json").read_text()).get("quantization_config") is None
    assert "trained on 4-bit weights" in (run.path / "export/merged/README.md").read_text()
