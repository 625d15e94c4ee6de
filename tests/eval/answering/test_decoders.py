"""An evaluation by a decoder that refills rows: the answers of the other, kept in larger batches."""

import json
from pathlib import Path

import pytest
import torch

from cft.errors import EvalError
from cft.models.generate import generate
from cft.models.graphs_fault import graphs_fault, tried
from cft.recipe.load import load_recipe
from eval.answering.batched import BatchedDecoding, Decoding
from tests.support.evaluating import TASK, count_batches, make_adapter, make_recipe, rows, run, stopped_and_gone_on
from tests.support.tiny import loud_model

PROMPTS = [f"{'word ' * n}{n} + {n} =" for n in range(1, 12)]


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapter"))


def test_the_decoder_is_part_of_what_answers_depend_on_and_changes_none_in_float32(
    tiny_model, adapter, tmp_path, monkeypatch
):
    by_steps, _ = run(make_recipe(tiny_model), tmp_path / "steps", adapter)
    calls = count_batches(monkeypatch)
    recipe = make_recipe(tiny_model, decoder="graphs")
    by_graphs, _ = run(recipe, tmp_path / "graphs", adapter)
    assert calls == [6, 6]  # sixteen batches of two at most, whatever their lengths
    for arm in ("base", "adapter"):
        assert rows(tmp_path / "graphs", arm) == rows(tmp_path / "steps", arm)
        one, other = by_steps[TASK][arm], by_graphs[TASK][arm]
        assert one["fingerprint"] != other["fingerprint"] and other["settings"]["decoder"] == "graphs"
        assert "decoder" not in one["settings"]  # answers from before there was a choice are still these
    assert run(recipe, tmp_path / "graphs", adapter)[1].count("done before") == 2


def test_a_killed_evaluation_goes_on_from_its_last_group(tiny_model, adapter, tmp_path, monkeypatch):
    sampled = {
        "samples": 12,
        "temperature": 1.0,
        "batch_size": 1,
        "max_new_tokens": 12,
        "decoder": "graphs",
        "arms": ["adapter"],
    }
    recipe = make_recipe(tiny_model, **sampled)
    assert stopped_and_gone_on(recipe, tmp_path, adapter, "adapter", monkeypatch) == [16, 16, 8]


@pytest.mark.parametrize("decoder", ["steps", "graphs"])
def test_answers_are_counted_while_their_batch_is_written(tiny_model, tmp_path, decoder):
    model, tokenizer = loud_model(tiny_model)
    [answer] = generate(model, tokenizer, PROMPTS[:1], max_new_tokens=9)
    how = Decoding(max_new_tokens=40, batch_size=4, decoder=decoder, stop_strings=(answer.text[5:7],))
    told: list[tuple[int, int]] = []
    log = tmp_path / "log.jsonl"
    decoding = BatchedDecoding(model, tokenizer, how, log=log, on_progress=lambda *of: told.append(of))
    answers = decoding.answer(PROMPTS)
    done = [count for count, _ in told]
    assert done == sorted(done) and done[-1] == len(PROMPTS) and len(set(done)) > 3
    assert sum(tokens for _, tokens in told) == sum(answer.tokens for answer in answers)
    batches = [len(json.loads(line)["batch"]) for line in log.read_text("utf-8").splitlines()]
    assert batches == ([11] if decoder == "graphs" else [4, 4, 3])


def test_a_model_that_graphs_cannot_decode_is_decoded_by_steps_and_a_line_says_why(tiny_model, tmp_path, monkeypatch):
    model, _ = loud_model(tiny_model)
    forward = type(model).forward

    def refusing(self, attention_mask=None, **how):
        if attention_mask is not None and attention_mask.ndim == 4 and attention_mask.is_floating_point():
            raise RuntimeError("no kernel image is available for execution on the device")
        return forward(self, attention_mask=attention_mask, **how)

    run(make_recipe(tiny_model, arms=["base"]), tmp_path / "steps", None)
    monkeypatch.setattr(type(model), "forward", refusing)
    tried.clear()
    found, printed = run(make_recipe(tiny_model, arms=["base"], decoder="graphs"), tmp_path / "graphs", None)
    tried.clear()
    assert "eval: base is decoded a step at a time instead of with graphs: RuntimeError: no kernel image" in printed
    assert found[TASK]["base"]["settings"]["decoder"] == "steps"
    assert rows(tmp_path / "graphs", "base") == rows(tmp_path / "steps", "base")


def test_out_of_memory_names_the_rows_that_were_written_at_once(tiny_model, tmp_path, monkeypatch):
    model, tokenizer = loud_model(tiny_model)
    assert graphs_fault(model) == ""

    def full(self, *args, **how):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(type(model), "forward", full)
    decoding = BatchedDecoding(model, tokenizer, Decoding(40, 2, decoder="graphs"), log=tmp_path / "log.jsonl")
    with pytest.raises(EvalError, match=r"while 2 answers were written at once\. Lower eval\.batch_size \(now 2\)"):
        decoding.answer(PROMPTS)
    assert not (tmp_path / "log.jsonl").exists()


def test_a_recipe_names_a_known_decoder():
    with pytest.raises(Exception, match=r"eval\.decoder = .*graphs"):
        load_recipe("quickstart", ["eval.decoder=graph"])
