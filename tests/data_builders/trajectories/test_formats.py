"""Each format becomes rows of messages and tools, with its quirks, on small files written after the real ones."""

from pathlib import Path
from typing import get_args

import pytest

from cft.recipe.blocks import TrajectoriesData
from cft.recipe.blocks.data import TrajectoryFormat
from data_builders.trajectories.build import rows
from data_builders.trajectories.read import FORMATS, Report
from data_builders.trajectories.tools import tool_list

FILES = Path(__file__).parent
READ = {  # file -> the format that its keys tell
    **dict.fromkeys(("openai", "smolagents"), "openai"),
    **dict.fromkeys(("sharegpt", "hermes", "toolace", "minimind"), "sharegpt"),
    **{name: name for name in ("glaive", "xlam", "bfcl", "verifiers", "limi", "claude_code", "codex")},
    **{"codex_bare": "codex", "codex_document": "codex"},
}


def read(name, **settings):
    """The rows of a file of this folder, and its report."""
    path = next(FILES.glob(f"{name}.json*"))
    data, report = TrajectoriesData(builder="trajectories", path=str(path), **settings), Report()
    return list(rows(data, report)), report.summary()


def calls(row):
    """Name and arguments of all calls."""
    found = [call for message in row["messages"] for call in message.get("tool_calls", ())]
    return [(call["function"]["name"], call["function"]["arguments"]) for call in found]


def turns(row):
    """Role and content of all messages."""
    return [(message["role"], message["content"]) for message in row["messages"]]


def parameters(row):
    """The parameters of a row's tools, by name."""
    return {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}


@pytest.mark.parametrize("name", READ)
def test_a_format_is_told_by_its_keys_and_may_be_named(name):
    assert {"auto", *FORMATS} == set(get_args(TrajectoryFormat))
    found, report = read(name)
    assert found and "refused" not in report and report["read"][READ[name]]
    assert read(name, format=name.partition("_")[0] if name.startswith("codex") else name)[0] == found
    other = read(name, format="bfcl" if name == "xlam" else "xlam")[1]
    assert set(other["refused"]) == {"its format is not known, or not data.format"}
    for row in found:  # the form that chat templates take
        assert row["messages"][-1]["role"] == "assistant"
        assert all(isinstance(message["content"], str) for message in row["messages"])
        assert all(isinstance(arguments, dict) for _, arguments in calls(row))
        assert {name for name, _ in calls(row)} <= set(parameters(row))
        ids = [call["id"] for message in row["messages"] for call in message.get("tool_calls", ())]
        assert [m["tool_call_id"] for m in row["messages"] if m["role"] == "tool"] in (ids, [])


def test_openai_arguments_in_text_become_objects_of_the_schemas_types_and_other_keys_stay():
    (row,), report = read("openai")
    assert row.keys() == {"id", "messages", "tools", "task"} and (row["id"], row["task"]) == ("oslo", 7)
    assert calls(row) == [("get_weather", {"city": "Oslo", "days": 2})]
    assert turns(row)[:3] == [("system", "Be brief."), ("user", "Weather in Oslo?"), ("assistant", "")]
    assert report["repaired"] == {"an argument's type changed to its schema's": 1}
    assert report["where"] == {"an argument's type changed to its schema's": "openai.jsonl:1"}


def test_sharegpt_calls_are_turns_of_their_own_and_glaive_quotes_their_json_singly():
    first, second = read("sharegpt")[0]
    assert calls(first) == [("create_contact", {"name": "Pat O'Neil"})]
    assert turns(first)[0] == ("system", "You are a helpful assistant.")
    assert parameters(first)["create_contact"]["required"] == ["name"]
    assert calls(second) == [("add", {"a": 1.5})] and turns(second)[0] == ("system", "Answer.")
    (row,), _ = read("glaive")
    assert calls(row) == [("calculate_bmi", {"weight": 70, "height": 1.75})] and len(row["tools"]) == 2
    assert turns(row)[-2:] == [("tool", '{"bmi": 22.86}'), ("assistant", "Your BMI is 22.86.")]


def test_hermes_has_pythons_repr_in_tools_calls_and_results_and_thoughts_before_them():
    (row,), report = read("hermes")
    price = "get_stock_price"
    assert calls(row) == [(price, {"company": "Apple", "live": True}), (price, {"company": "Oslo's exchange"})]
    assert turns(row)[0] == ("system", "You are a function calling AI model.")  # the rest said how to call tools
    assert row["messages"][2]["reasoning_content"].startswith("Goal: two prices") and turns(row)[2][1] == ""
    assert turns(row)[3:5] == [("tool", '{"price": "$150.75", "stale": null}'), ("tool", "unknown")]
    assert parameters(row)[price]["properties"]["live"] == {"type": "boolean", "default": False}
    assert report["repaired"] == {"tools taken out of the system prompt": 1}


def test_xlam_parameters_get_their_envelope_and_a_row_may_end_in_calls():
    (row,), _ = read("xlam")
    schema = parameters(row)["live_giveaways"]
    assert schema["type"] == "object" and schema["required"] == ["limit"]
    assert [one["type"] for one in schema["properties"].values()] == ["string", "integer", "array"]
    assert calls(row) == [("live_giveaways", {"type": "pets", "limit": 3})] and row["messages"][-1]["tool_calls"]


def test_toolace_calls_are_python_with_spaces_in_names_and_one_turn_answers_several():
    (row,), _ = read("toolace")
    trends, news = (
        ("Market Trends API", {"trend_type": "MARKET (US)", "deep": True}),
        ("news.find", {"words": ["a", "b's"]}),
    )
    assert calls(row) == [trends, news] and turns(row)[-1][1] == "One trend [source (1)]."
    assert turns(row)[0][1].endswith("set of possible functions.")
    assert turns(row)[3:5] == [
        ("tool", '{"name": "Market Trends API", "results": {"n": 1}}'),
        ("tool", '{"name": "news.find", "results": []}'),
    ]
    assert parameters(row)["news.find"]["properties"]["words"] == {"type": "array", "items": {"type": "string"}}


def test_bfcl_gold_is_the_first_allowed_value_and_an_empty_one_is_left_out():
    (row,), _ = read("bfcl")
    assert calls(row) == [("triangle_area", {"base": 10, "height": 5, "place": {"city": "NYC"}})]
    assert parameters(row)["triangle_area"]["type"] == "object"


def test_smolagents_calls_are_listed_as_repr_and_observations_may_be_the_users():
    (row,), report = read("smolagents")
    assert calls(row) == [("python_interpreter", {"code": "print(len(rows))"}), ("final_answer", {"answer": "it's 3"})]
    texts = [
        "Thought: I count.\n<code>\nprint(len(rows))\n</code>",
        "Error:\nrows is not defined",
        "",
        "it's 3",
        "It is 3.",
    ]
    assert [text for _, text in turns(row)[2:]] == texts
    assert report["repaired"] == {"tools written by their calls": 1}


def test_verifiers_traces_are_trees_and_results_come_in_the_order_of_their_calls():
    (row,), report = read("verifiers")
    assert calls(row) == [("search", {"q": "it"}), ("apply_patch", {"input": "*** Begin Patch"})]
    assert [text for _, text in turns(row)] == ["Find it.", "", "found", "patched", "Found."]
    assert row["messages"][1]["reasoning_content"] == "Search." and len(report["repaired"]) == 2


def test_minimind_has_tools_in_a_message_and_calls_in_text():
    (row,), _ = read("minimind")
    assert calls(row) == [("get_weather", {"city": "Oslo"})] and row["messages"][1]["reasoning_content"] == "I ask."


def test_limi_takes_the_last_request_and_the_tools_of_all():
    (row,), report = read("limi")
    assert turns(row)[0] == ("system", "You are SII CLI.") and list(parameters(row)) == ["read_file", "list_directory"]
    assert calls(row) == [("list_directory", {"path": "/x"}), ("read_file", {"path": "/x/a"})]
    assert turns(row)[3:] == [("tool", "a"), ("tool", '{"error": "no such file"}'), ("assistant", "Nothing to clean.")]
    kinds = [one["type"] for one in parameters(row)["list_directory"]["properties"].values()]
    assert kinds == ["string", "integer", "array"] and report["repaired"] == {"cut after the last assistant turn": 1}


def test_a_claude_code_session_is_the_path_to_its_last_record_with_all_blocks_and_results_of_a_message():
    (main, sidechain, continued), report = read("claude_code")
    assert calls(main) == [("Read", {"file_path": "a.py"}), ("Bash", {"command": "wc -l a.py"})]
    assert [text for _, text in turns(main)] == [
        *("How many lines has a.py?", "I read.", "     1→x = 1\n     2→y = 2", "2 a.py", "Two."),
    ]
    assert main["messages"][1]["reasoning_content"] == "Read both."
    assert [text for _, text in turns(sidechain)] == ["Search the folder.", "Nothing there."]
    assert turns(continued)[0][1].startswith("This session is continued") and turns(continued)[-1][1] == "None."
    left = ("message of an abandoned branch", "local command", "record isMeta", "error of the API", "record summary")
    assert all(report["ignored"][name] == 1 for name in left)


@pytest.mark.parametrize(("name", "number"), [("codex", 3), ("codex_bare", 1), ("codex_document", 1)])
def test_a_codex_session_is_read_in_all_its_generations(name, number):
    found, report = read(name)
    assert calls(found[0]) == [
        *[("exec_command", {"cmd": "wc -l a.py"}), ("apply_patch", {"input": "*** Begin Patch"})],
        ("shell", {"command": ["ls"]}),
    ]
    assert turns(found[0])[-1][1] == "Two." and len(found) == number
    assert report["ignored"]["environment context"] == 1 and report["ignored"]["record reasoning"] == 1
    if name == "codex":
        assert turns(found[0])[0] == ("system", "You are Codex.") and report["ignored"]["record event_msg"] == 2
        assert turns(found[1])[1] == ("user", "Two lines were counted.\n\nAnd b.py?")
        assert turns(found[2])[1:] == [("user", "Two files were counted."), ("assistant", "Both.")]


def test_a_schema_in_the_usual_form_stays_as_it_is():
    number = {"type": "number", "nullable": True, "description": "three", "enum": [1.5, None]}
    deep = {"type": "object", "properties": {"type": {"type": "array", "items": {"type": "string"}}}}
    parameters = {"type": "object", "properties": {"c": number, "d": deep}, "required": ["c"]}
    tool = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": parameters}}
    assert tool_list([tool]) == tool_list(tool) == tool_list(tool["function"]) == [tool]
