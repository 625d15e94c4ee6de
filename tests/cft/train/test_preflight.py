"""Rows are shown, checked and trained on as the same tokens; whatever would be cut or not learnt is refused."""

import io
import json
from pathlib import Path

import pytest

from cft.errors import DataError, TrainError
from cft.rows import IGNORED, load_rows, tokenize_row
from cft.terminal import Terminal
from cft.train.preflight import preflight, preflight_run, show_row
from tests.support.training import make_recipe

QWEN_STYLE = (  # as Qwen2.5's: a system turn that nobody wrote, and a newline after each end of turn
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NEVER_ENDS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
MARKS_PROMPT = (
    "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}think: {% endif %}"
)

STRIPS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1].lstrip() }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENS_A_THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and '<think>' not in m['content'] %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
THOUGHT = "<think>\nTwo and two are four.\n</think>\n\nIt is \\boxed{4}."


def row(id: str = "a", prompt: str = "What is 2+2?", completion: str = "It is \\boxed{4}.") -> dict:
    return {
        "id": id,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path):
    return load(tiny_model)


def load(folder: Path, template: str | None = None, keep: bool = True):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    if not keep:
        tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", ["own", QWEN_STYLE, None])
def test_tokens_are_those_of_trl(tiny_model, tmp_path, template) -> None:
    """TRL's own preparation and collator give the same ids and labels, with and without a chat template."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = load(tiny_model, template, keep=template == "own")
    rows = [row("a"), row("b", "Why?\n\nBecause é.", "So: \n x <|im_start|> 中"), row("c", "q " * 30, "a")]
    mine = preflight(rows, tokenizer, 4096).rows
    if template is None:
        from cft.models.generate import render

        theirs = [{"prompt": render(tokenizer, r["prompt"]), "completion": r["completion"][0]["content"]} for r in rows]
    else:
        theirs = [{"prompt": r["prompt"], "completion": r["completion"]} for r in rows]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        args=SFTConfig(str(tmp_path), use_cpu=True, report_to="none", max_length=4096),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(theirs),
    )
    assert [(r.input_ids, r.labels) for r in mine] == [(r["input_ids"], r["labels"]) for r in trainer.train_dataset]
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    for tokens, ids, labels in zip(mine, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        n = len(tokens.input_ids)
        assert (ids[:n], labels[:n]) == (tokens.input_ids, tokens.labels)
        assert set(labels[n:]) <= {IGNORED}


def test_loss_is_on_the_completion_and_its_end_only(tokenizer) -> None:
    tokens = tokenize_row(row(), tokenizer)
    start = len(tokens.input_ids) - len(tokens.trained)
    assert tokenizer.decode(tokens.trained) == "It is \\boxed{4}.<|im_end|>\n"
    assert tokens.labels == [IGNORED] * start + tokens.input_ids[start:]
    assert tokenizer.decode(tokens.input_ids[:start]).endswith("What is 2+2?<|im_end|>\n<|im_start|>assistant\n")


def test_counts(tokenizer) -> None:
    checked = preflight([row("a"), row("b", completion="It is \\boxed{4}, since 2+2=4.")], tokenizer, 100)
    lengths = [len(r.input_ids) for r in checked.rows]
    assert checked.summary() == {
        "rows": 2,
        "prompt_tokens": sum(lengths) - checked.completion_tokens,
        "completion_tokens": sum(len(r.trained) for r in checked.rows),
        "longest_tokens": max(lengths),
        "longest_id": "b",
        "max_length": 100,
    }


def test_all_rows_that_are_too_long_are_named_with_the_fix(tokenizer) -> None:
    rows = [row("short"), row("long", completion="x" * 200), row("longer", completion="x" * 300)]
    longest = len(tokenize_row(rows[2], tokenizer).input_ids)
    with pytest.raises(TrainError) as caught:
        preflight(rows, tokenizer, 100)
    message = str(caught.value)
    assert "row 1 (long)" in message and "row 2 (longer)" in message and "short" not in message
    assert f"train.args.max_length={longest}" in message
    assert preflight(rows, tokenizer, longest).n == 3
    with pytest.raises(TrainError, match=f"max_length={longest}"):
        preflight(rows, tokenizer, longest - 1)


def test_the_models_own_limit_counts_too(tiny_model) -> None:
    tokenizer = load(tiny_model)
    tokenizer.model_max_length = 50
    with pytest.raises(TrainError, match="takes at most 50 tokens") as caught:
        preflight([row(completion="x" * 200)], tokenizer, 4096)
    assert "max_length=" not in str(caught.value)


def test_a_template_that_never_ends_a_turn_is_refused(tiny_model) -> None:
    with pytest.raises(TrainError, match=r"row 0 \(a\).*not in the end-of-sequence token '<\|im_end\|>'"):
        preflight([row()], load(tiny_model, NEVER_ENDS, keep=False), 4096)


def test_a_prompt_that_renders_differently_alone_is_refused(tiny_model) -> None:
    with pytest.raises(TrainError, match=r"row 0 \(a\): the prompt alone tokenises differently"):
        preflight([row()], load(tiny_model, MARKS_PROMPT, keep=False), 4096)


def test_an_empty_completion_is_refused(tokenizer) -> None:
    with pytest.raises(TrainError, match=r"row 1 \(b\): its completion is empty"):
        preflight([row(), row("b", completion=" \n")], tokenizer, 4096)


@pytest.mark.parametrize("pad", [None, "<|im_end|>"])
def test_padding_with_the_end_token_is_refused(tiny_model, pad) -> None:
    tokenizer = load(tiny_model)
    tokenizer.pad_token = pad
    with pytest.raises(TrainError, match="set another pad_token"):
        preflight([row()], tokenizer, 4096)


def test_a_row_is_shown_with_its_trained_tokens_bright(tokenizer) -> None:
    console = Terminal(force_terminal=True, color_system="standard", record=True, width=200, file=io.StringIO())
    show_row(tokenize_row(row(prompt="[bold]2+2[/]"), tokenizer), tokenizer, console)
    shown = console.export_text(styles=True)
    assert "[bold]2+2[/]<|im_end|>" in shown  # markup in a row is text
    dim, bright = shown.index("\x1b[2m[bold]"), shown.index("\x1b[1;32mIt is")
    assert dim < bright


def test_preflight_of_a_run(tiny_model, tmp_path) -> None:
    examples = tmp_path / "examples.jsonl"
    examples.write_text(json.dumps(row()) + "\n" + json.dumps(row("b", completion="No.")) + "\n")
    found = preflight_run(make_recipe(tiny_model), examples, 1, None)
    assert found["rows"] == 2 and found["row"]["trained"] == "No.<|im_end|>\n"
    assert found["row"]["prompt_tokens"] + found["row"]["trained_tokens"] < found["longest_tokens"]
    json.dumps(found)
    with pytest.raises(TrainError, match="--row 2: there are 2 rows, numbered 0 to 1"):
        preflight_run(make_recipe(tiny_model), examples, 2, None)
    with pytest.raises(TrainError, match="above the limit of 10"):
        preflight_run(make_recipe(tiny_model, args={"max_length": 10}), examples, 0, None)


def test_damaged_rows_are_all_named_by_line(tmp_path) -> None:
    path = tmp_path / "examples.jsonl"
    damaged = [
        row("a"),
        {**row("b"), "prompt": "text"},
        {**row("c"), "completion": []},
        {**row("d"), "prompt": [{"role": "user"}]},
        {k: v for k, v in row("e").items() if k != "id"},
        row("a"),
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in damaged))
    with pytest.raises(DataError) as caught:
        load_rows(path)
    message = str(caught.value)
    for words in ("5 faulty", "line 2: `prompt`", "line 3: `completion`", "line 4: `prompt`", "line 5: `id`"):
        assert words in message
    assert "line 6: id 'a' stands on line 1 already" in message


@pytest.mark.parametrize(
    ("data", "fault"),
    [(b"", "no rows"), (b'{"id": "a"', "line 1"), (b"\xff\n", "not UTF-8"), (b"[]\n", "not an object")],
)
def test_files_that_are_no_rows(tmp_path, data, fault) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=fault):
        load_rows(path)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_rows(tmp_path / "none.jsonl")


def test_a_completion_that_the_template_shortens_is_refused(tiny_model) -> None:
    rows = [row("a"), row("b", completion=THOUGHT)]
    with pytest.raises(TrainError, match=r"1 fault\(s\) in 2.*\n.*row 1 \(b\): what is trained is not.*<think>"):
        preflight(rows, load(tiny_model, STRIPS_THOUGHTS, keep=False), 4096)
    assert preflight(rows[:1], load(tiny_model, STRIPS_THOUGHTS, keep=False), 4096).n == 1


def test_a_later_message_of_a_completion_is_looked_for_behind_the_first(tiny_model) -> None:
    said = [{"role": "assistant", "content": "One."}, {"role": "user", "content": "And?"}]
    both = row() | {"completion": [*said, {"role": "assistant", "content": "One."}]}
    assert preflight([both], load(tiny_model), 4096).n == 1
    only_first = "{% for m in messages %}{{ m['content'] if loop.index < 4 }}<|im_end|>{% endfor %}"
    with pytest.raises(TrainError, match=r"not its completion.*'One\.'"):
        preflight([both], load(tiny_model, only_first, keep=False), 4096)


@pytest.mark.parametrize("completion", [THOUGHT, "It is  4. ", "é ∀ 中", "<|im_start|> is written"])
def test_a_prompt_may_open_the_thought_and_white_space_does_not_count(tiny_model, completion) -> None:
    tokenizer = load(tiny_model, OPENS_A_THOUGHT, keep=False)
    checked = preflight([row(completion=completion)], tokenizer, 4096)
    assert tokenizer.decode(checked.rows[0].trained).rstrip().endswith("<|im_end|>")
