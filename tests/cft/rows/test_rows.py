"""Rows of several turns are read, shown, planned, traced and trained like those of a prompt and its completion."""

import io
import json

import pytest

from cft.cli.trace import print_trace, trace_item
from cft.errors import DataError, TrainError
from cft.files import write_jsonl
from cft.models.load import load_tokenizer
from cft.plan.plan import row_tokens
from cft.recipe.load import load_recipe
from cft.rows import load_rows, tokenize_row
from cft.runs import open_run
from cft.terminal import Terminal
from cft.train.preflight import preflight_run
from cft.train.rollouts.taught import taught_rows
from tests.support.tiny import CHAT_TEMPLATE, make_tiny_model
from tests.support.training import assert_close_weights, make_recipe, run_train

CALL = {"type": "function", "function": {"name": "read", "arguments": {"path": "a.txt"}}}
TOOLS = [{"type": "function", "function": {"name": "read", "description": "Reads.", "parameters": {}}}]
ASKED, SAID = {"role": "user", "content": "How much?"}, {"role": "assistant", "content": "\\boxed{4}"}
TEXT = {"function": {"name": "read", "arguments": '{"path": "a.txt"}'}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "name": "read", "content": "[bold]4[/]"}
ROW = {"id": "a", "messages": [ASKED, CALLED, RESULT, SAID], "tools": TOOLS}
WRITES_CALLS = "{{ tools | tojson if tools }}" + CHAT_TEMPLATE.replace(
    "{{ m['content'] }}", "{{ m['content'] }}{{ m.tool_calls | tojson if m.tool_calls }}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("models") / "agent", WRITES_CALLS)


DAMAGED = {
    "message 1 (bot): a role is one of": {"messages": [{"role": "bot", "content": "x"}, SAID]},
    "message 1 (assistant): nothing is asked": {"messages": [SAID, ASKED, SAID]},
    "message 2 (tool): a result that no call": {"messages": [ASKED, RESULT, SAID]},
    "message 4 (tool): a result that no call": {"messages": [ASKED, CALLED, RESULT, RESULT, SAID]},
    "message 3 (assistant): 1 call(s) before it have no result": {"messages": [ASKED, CALLED, SAID]},
    "message 2 (assistant): `tool_calls` is": {"messages": [ASKED, SAID | {"tool_calls": [TEXT]}]},
    "message 2 (assistant): has neither": {"messages": [ASKED, SAID | {"content": " "}]},
    "ends in a message of role tool": {"messages": [ASKED, CALLED, RESULT]},
    "`messages` holds {'role'": {"messages": [ASKED, SAID | {"content": None}]},
    "`turns` is 'some'; it is one of all, last, each": {"turns": "some"},
    "`tools` is {'read'": {"tools": {"read": 1}},
    "`tools` is 5": {"tools": 5},
    "`tools` is [{'type'": {"tools": [{"type": "function", "function": {"name": "read", "description": 5}}]},
    "message 2 (assistant): `reasoning_content` is 5": {"messages": [ASKED, SAID | {"reasoning_content": 5}]},
    "id 'b/1' stands on line 2": {"id": "b/1"},
    "id 'a' stands on line 1": {"id": "a"},
}


def test_damaged_conversations_are_named_by_line_with_the_fix(tmp_path):
    for start in (0, 6, 12):  # a message lists ten
        damaged = list(DAMAGED.items())[start : start + 6]
        rows = [
            ROW,
            ROW | {"id": "b", "turns": "each"},
            *(ROW | {"id": str(n)} | change for n, (_, change) in enumerate(damaged)),
        ]
        write_jsonl(tmp_path / "examples.jsonl", rows)
        with pytest.raises(DataError) as caught:
            load_rows(tmp_path / "examples.jsonl")
        for number, (words, _) in enumerate(damaged, 3):
            assert f"line {number}: {words}" in str(caught.value)


def test_methods_that_answer_a_prompt_refuse_conversations(tmp_path):
    write_jsonl(tmp_path / "examples.jsonl", [ROW])
    with pytest.raises(DataError, match="`prompt` is None"):
        load_rows(tmp_path / "examples.jsonl", completions=False)
    with pytest.raises(DataError, match="`prompt` is None"):
        taught_rows(tmp_path / "examples.jsonl", None, "sdft", {"max_completion_length": 9})


def test_preflight_shows_each_turn_bright_and_what_is_read_dim(model, tmp_path):
    write_jsonl(tmp_path / "examples.jsonl", [ROW | {"turns": "each"}, ROW | {"id": "b"}])
    console = Terminal(force_terminal=True, color_system="standard", record=True, width=400, file=io.StringIO())
    found = preflight_run(make_recipe(model), tmp_path / "examples.jsonl", 2, console)
    shown = console.export_text(styles=True)
    places = [shown.rindex(text) for text in ("\x1b[1;32m[{", "[bold]4[/]", "\x1b[1;32m\\boxed{4}<|im_end|>")]
    assert places == sorted(places) and "\x1b[1;32m" not in shown[places[0] + 9 : places[1]]
    assert found["rows"] == 3 and [part["trained"] for part in found["row"]["parts"]] == [False, True] * 2 + [False]
    assert found["row"]["parts"][3]["text"] == "\\boxed{4}<|im_end|>" and "Reads." in found["row"]["prompt"]
    assert found["row"]["prompt_tokens"] + found["row"]["trained_tokens"] == found["longest_tokens"]
    with pytest.raises(TrainError, match=r"row 0 \(a/1\): has \d+ tokens.*\n.*\n.*\n.*max_length="):
        preflight_run(make_recipe(model, {"max_length": 60}), tmp_path / "examples.jsonl", 0, None)


def test_a_plan_counts_the_tokens_of_conversations(model):
    recipe = make_recipe(model)
    counted = row_tokens(recipe, [ROW, ROW | {"turns": "each"}], 0, True)
    assert counted[0] == tokenize_row(ROW, load_tokenizer(recipe.model)).counts and len(counted) == 3
    ((prompt, trained),) = row_tokens(recipe, [ROW], 0, False)
    assert prompt + trained == pytest.approx(sum(counted[0]) / 3, rel=0.5)  # bytes, here, and about three to a token


def test_a_conversation_is_traced_with_its_calls(tmp_path):
    run = open_run(load_recipe("smoke"), {}, tmp_path / "runs")
    run.stage("data", {})
    write_jsonl(run.data / "examples.jsonl", [ROW | {"kind": "lookup"}])
    console = Terminal(width=200, file=io.StringIO())
    print_trace(trace_item(run, "a/1"), console)
    shown = console.file.getvalue()
    assert "example" in shown and "tool: [bold]4[/]" in shown and json.dumps(CALL) in shown and "\\boxed{4}" in shown


def test_conversations_train_the_same_packed_padded_and_recomputed(model, tmp_path):
    """The longest row is tried first, as always; the loss is that of the turns, however the rows are laid out."""
    rows = [ROW | {"id": str(n), "messages": [*ROW["messages"], ASKED, SAID][: 4 + 2 * (n % 2)]} for n in range(4)]
    write_jsonl(tmp_path / "examples.jsonl", rows)
    kinds = {
        "padded": {"per_device_train_batch_size": 4},
        "recomputed": {"per_device_train_batch_size": 2, "gradient_checkpointing": True, "padding_free": True},
        "packed": {"packing": True, "max_length": 2048, "per_device_train_batch_size": 1},
    }
    losses = {}
    for name, args in kinds.items():
        args = {"gradient_accumulation_steps": 4 // args["per_device_train_batch_size"], "learning_rate": 1e-3} | args
        summary, _ = run_train(make_recipe(model, args, dtype="float32"), tmp_path / "examples.jsonl", tmp_path / name)
        losses[name] = summary["first_loss"]
        assert summary["steps"] == 1
    assert all(loss == pytest.approx(losses["padded"], rel=1e-4) for loss in losses.values())
    for name in kinds:
        assert_close_weights(tmp_path / name, tmp_path / "padded")
