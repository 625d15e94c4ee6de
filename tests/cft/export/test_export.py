"""`cft export` as a user meets it: what is refused, GGUF by an outside converter, cards, and a hub."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from rich.console import Console

from cft.errors import RunError
from cft.export.card import dataset_of, licence, result
from cft.export.export import export
from cft.export.folder import check_disk, check_ours
from cft.export.gguf import find_converter
from cft.export.trained import open_trained
from cft.runs import Run
from tests.support.command import cft
from tests.support.exporting import REPORT, front, make_base, make_run, scored

TOKEN = "hf_secret0123456789"


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory) -> Run:
    root = tmp_path_factory.mktemp("handed")
    return scored(make_run(root, make_base(tiny_model, root / "base")))


def exported(run: Run, *arguments: str, **environment: str):
    return cft("export", str(run.path), *arguments, cwd=run.path.parent.parent.parent, **environment)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "merge"], "--to merge: is not known. Did you mean merged?"),
        (["--to", "onnx"], "Known here: merged, gguf, ollama, adapter"),
        (["--step", "9"], "--step 9: was not kept"),
        (["--to", "gguf", "--outtype", "q3"], "--outtype q3: is not known"),
        (["--to", "gguf", "--llama-cpp", "nowhere"], "--llama-cpp nowhere: has no convert_hf_to_gguf.py"),
        (["--push", "name"], "name: is no repository name. Write OWNER/NAME"),
        (["--push", "me/it", "--to", "merged", "--to", "gguf"], "--push sends one export"),
        (["--out", "/proc/nowhere"], "Name a folder with --out"),
    ],
)
def test_bad_input_is_refused_before_any_work(run, arguments, words):
    done = exported(run, *arguments)
    assert done.returncode == 2 and words in " ".join(done.stderr.split()), done.stderr
    assert "merging" not in done.stderr


def test_a_run_without_training_or_half_trained_is_refused(run, tmp_path):
    copy = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    (copy.path / "train" / "manifest.json").unlink()
    with pytest.raises(RunError, match="the train stage is not finished"):
        open_trained(copy)
    recipe = yaml.safe_load((copy.path / "recipe.yaml").read_text())
    recipe |= {"data": {"builder": "none"}, "train": {"method": "none"}}
    recipe["eval"]["arms"] = ["base"]
    (copy.path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(RunError, match="trains nothing"):
        open_trained(copy)


def test_a_folder_of_someone_else_is_not_touched(run, tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "thesis.txt").write_text("mine")
    done = exported(run, "--out", str(tmp_path))
    assert done.returncode == 2 and "was not written by cft export" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["merged", "thesis.txt"]
    check_ours(tmp_path / "new")


def test_a_full_disk_is_told_before(tmp_path):
    with pytest.raises(RunError, match=r"needs 1,000,000\.0 GB on the disk of .* are free.* with --out"):
        check_disk(tmp_path / "a" / "b", 1e15)


def test_without_the_converter_it_says_how_to_get_it(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    with pytest.raises(RunError, match=r"git clone --depth 1 https://github\.com/ggml-org/llama\.cpp"):
        find_converter(None)
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("")
    script.chmod(0o755)
    assert find_converter(None) == find_converter(tmp_path) == find_converter(script) == script
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "gone"))
    with pytest.raises(RunError, match=r"LLAMA_CPP .*gone: has no"):
        find_converter(None)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise NotImplementedError('BPE pre-tokenizer was not recognized')", "pre-tokenizer was not recognized"),
        ("import no_such_library", "needs no_such_library. Install it"),
        (
            "raise ModuleNotFoundError(\"No module named 'sentencepiece'\")",
            "needs sentencepiece. Install it: {python} -m pip install 'one-problem-cft[gguf]'",
        ),
        ("", "failed with exit code 0"),
    ],
)
def test_a_converter_that_fails_is_quoted_and_leaves_nothing(run, tmp_path, script, words):
    (tmp_path / "convert_hf_to_gguf.py").write_text(script)
    done = exported(run, "--to", "gguf", "--llama-cpp", str(tmp_path))
    assert done.returncode == 2 and words.format(python=sys.executable) in " ".join(done.stderr.split())
    assert not list((run.path / "export").glob("*gguf*"))


def test_a_file_of_another_model_is_refused(run, tmp_path):
    """The converter here writes a well-formed GGUF file of other weights and another vocabulary."""
    root = Path(__file__).parents[3]
    (tmp_path / "convert_hf_to_gguf.py").write_text(
        f"import sys; sys.path.insert(0, {str(root)!r})\nfrom pathlib import Path\n"
        "from tests.support.tiny import write_gguf\nwrite_gguf(Path(sys.argv[3]))\n"
    )
    done = exported(run, "--to", "gguf", "--llama-cpp", str(tmp_path))
    assert done.returncode == 2 and "ends answers with token 259" in " ".join(done.stderr.split())


@pytest.mark.skipif(not os.environ.get("LLAMA_CPP"), reason="needs a checkout of llama.cpp: LLAMA_CPP=DIR runs it")
def test_llama_cpp_converts_a_real_model_bit_for_bit(tmp_path):
    from cft.models.source import fetch_model

    run = make_run(tmp_path, fetch_model("qwen2.5-coder-0.5b"))
    done = export(open_trained(run), ["gguf", "ollama"], None, Console(file=io.StringIO()))
    assert done["gguf"]["check"]["max_abs_diff"] == 0.0 and done["gguf"]["tokenizer"]["chat_template"]
    assert Path(done["ollama"]["path"]).read_text().startswith("FROM ./handed-bf16.gguf\n")


def test_the_card_reads_back_with_its_results(run):
    export(open_trained(run), ["merged", "adapter"], None, Console(file=io.StringIO()))
    for kind, library in (("merged", "transformers"), ("adapter", "peft")):
        folder = run.path / "export" / kind
        data = ModelCard.load(folder / "README.md", ignore_metadata_errors=False).data
        [result] = data.eval_results
        assert (data.model_name, data.library_name, data.pipeline_tag) == ("handed", library, "text-generation")
        assert (result.dataset_type, result.dataset_name) == ("HuggingFaceH4/MATH-500", "MATH-500")
        assert (result.metric_type, result.metric_value) == ("accuracy", 25.2)
        assert "n = 100, 95 % interval 17.0% to 35.0%, base 20.0%" in result.metric_name
        text = (folder / "README.md").read_text()
        assert "| adapter | 25.2% |" in text and "learning_rate: 0.001" in text and str(run.path) not in text


def test_a_card_without_scores_says_so(tiny_model, tmp_path):
    run = make_run(tmp_path, make_base(tiny_model, tmp_path / "base"))
    export(open_trained(run), ["adapter"], None, Console(file=io.StringIO()))
    assert "model-index" not in front(run.path / "export" / "adapter")
    assert "Not scored." in (run.path / "export" / "adapter" / "README.md").read_text()


def test_results_name_their_data_and_licences_their_id():
    assert dataset_of("cft_wordproblems") == {"dataset_type": "cft_wordproblems", "dataset_name": "cft_wordproblems"}
    assert dataset_of("cft_math500")["dataset_revision"] == "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
    assert result(REPORT, "base").metric_value == 20.0
    assert licence("Apache-2.0") == {"license": "apache-2.0"} and licence(None) == {}
    assert licence("Gemma terms of use") == {"license": "other", "license_name": "gemma-terms-of-use"}


def test_a_push_says_what_it_would_send_and_sends_it_when_told(run, hub):
    environment = hub.environment | {"HF_TOKEN": TOKEN}
    dry = exported(run, "--to", "adapter", "--push", "me/it", **environment)
    assert dry.returncode == 0 and "add --yes" in dry.stdout and "adapter_model.safetensors" in dry.stdout
    assert not hub.seen
    sent = exported(run, "--to", "adapter", "--push", "me/it", "--yes", "--json", **environment)
    assert sent.returncode == 0, sent.stderr
    told = json.loads(sent.stdout)["push"]
    assert hub.created().get("type", "model") == "model" and told["private"] and told["sent"]
    assert any("/api/models/me/it/commit/" in path for path, *_ in hub.seen)
    files, folder = hub.files(), run.path / "export" / "adapter"
    assert set(files) == {path.name for path in folder.iterdir()} - {"export.json"} == set(told["files"])
    assert all(content == (folder / name).read_bytes() for name, content in files.items())
    hub.refuse = True
    refused = exported(run, "--to", "adapter", "--push", "me/it", "--yes", **environment)
    assert refused.returncode == 2 and "the hub answers 403" in refused.stderr
    gone = exported(
        run, "--to", "adapter", "--push", "me/it", "--yes", **environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    )
    assert gone.returncode == 2 and "cannot be reached" in gone.stderr
    nobody = environment | {"HF_TOKEN": "", "HF_TOKEN_PATH": str(run.path / "none"), "HF_HOME": str(run.path / "home")}
    asked = exported(run, "--to", "adapter", "--push", "me/it", "--yes", **nobody)
    assert asked.returncode == 2 and ("wants a token" in asked.stderr or "the hub answers 403" in asked.stderr)
    for done in (dry, sent, refused, gone, asked):
        assert TOKEN not in done.stdout + done.stderr
