"""What is repaired in a trajectory, what is refused, and how a damaged file is read on; always told with its place."""

import json

import pytest

from cft.recipe.blocks import TrajectoriesData
from data_builders.trajectories import read
from data_builders.trajectories.build import rows

ADD = {
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": ["string", "null"]}, "c": {"type": "string"}},
        "required": ["a"],
    },
}
ASK, SAY = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def call(arguments='{"a": 1}', key="1", name="add"):
    return {"id": key, "function": {"name": name, "arguments": arguments}}


def calls(*some):
    return {"role": "assistant", "content": "", "tool_calls": list(some)}


def result(key="1", content="r"):
    return {"role": "tool", "tool_call_id": key, "content": content}


def blocks(role, *some):
    return {"role": role, "content": [{"type": kind, **rest} for kind, rest in some]}


def prompt(text):
    return [{"role": "system", "content": text}, ASK, SAY]


TOOL = json.dumps({"name": "add", "parameters": {}})
DEEP = "[" * 300 + "]" * 300


def convert(tmp_path, *records, **settings):
    """Rows, repairs, refusals and places of records, lines or lists of messages."""
    path = tmp_path / "log.jsonl"
    records = [{"messages": one, "tools": [ADD]} if isinstance(one, list) else one for one in records]
    path.write_bytes(b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in records))
    report = read.Report()
    found = list(rows(TrajectoriesData(builder="trajectories", path=str(path), **settings), report))
    return found, [*report.counts["repaired"]], [*report.counts["refused"]], report.places


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([ASK, calls(call()), SAY], "a call has no result"),
        ([ASK, calls(call(), call(key="2")), result(), SAY], "a call has no result"),
        ([ASK, calls(call()), ASK, SAY], "a call has no result"),
        ([ASK, calls(call()), result("7"), SAY], "a result has no call"),
        ([ASK, result(), SAY], "a result has no call"),
        ([ASK, calls(call()), result(), result("1", "other"), SAY], "two results of one call differ"),
        ([ASK, calls(call(), call('{"a": 2}')), result(), SAY], "two open calls have one id"),
        ([ASK, calls(call('{"a": ')), result(), SAY], "arguments are no JSON"),
        ([ASK, calls(call("[1]")), result(), SAY], "arguments are no JSON object"),
        ([ASK, calls(call('{"a": "many"}')), result(), SAY], "an argument is not of its schema's type"),
        ([ASK, calls(call('{"b": "x"}')), result(), SAY], "a required argument is missing"),
        ([ASK, calls(call('{"a": 1, "z": 2}')), result(), SAY], "an argument that its tool does not have"),
        ([ASK, calls(call(name="sub")), result(), SAY], "calls a tool that is not among its tools"),
        ([ASK, calls({"id": "1"}), result(), SAY], "a call cannot be read"),
        ([ASK, {"role": "assistant", "content": "<tool_call>add 1</tool_call>"}, SAY], "a call cannot be read"),
        ([ASK, SAY, {"role": "system", "content": "s"}, ASK, SAY], "a system message within the conversation"),
        ([ASK], "no assistant turn"),
        ([ASK, {"role": "judge", "content": "x"}], "a message without a known role"),
        ({"messages": [ASK, SAY], "tools": [{"type": "function"}]}, "its tools cannot be read"),
        *[(prompt(f'<tools>{TOOL}\n{{"name": "b", "x": {bad}}}</tools>'), "its tools cannot be read")
          for bad in ("NaN", '"\\ud800"', DEEP)],
        ([ASK, {**SAY, "content": f"[f{'.a' * 900}(x=1)]"}], "calls a tool that is not among its tools"),
        ([ASK, calls(call(), call('{"a": 2}', "2")), {"role": "user", "content": "<tool_response>r</tool_response> x"}],
         "a call has no result"),
        ([ASK, blocks("assistant", ("tool_use", {"id": "1", "input": {}})), SAY], "a call cannot be read"),
        ({"text": "only"}, "its format is not known, or not data.format"),
        (b'{"messages": [\n', "not JSON"),
        (b'{"messages": NaN}\n', "not JSON"),
        (b"\xff\n", "not UTF-8"),
        (b"[1]\n", "a record that is no object"),
    ],
)  # fmt: skip
def test_what_cannot_be_repaired_without_a_guess_is_refused_with_its_line(tmp_path, messages, why):
    found, _, refused, places = convert(tmp_path, [ASK, SAY], messages)
    assert (len(found), refused, places[why]) == (1, [why], ["log.jsonl:2"])


@pytest.mark.parametrize(
    ("messages", "repair", "kept"),
    [
        ([ASK, SAY, SAY], "two assistant turns in a row joined", ["q", "a\n\na"]),
        ([ASK, ASK, SAY], "two user turns in a row joined", ["q\n\nq", "a"]),
        ([SAY, ASK, SAY], "assistant turn before the first user turn left out", ["q", "a"]),
        ([ASK, SAY, ASK], "cut after the last assistant turn", ["q", "a"]),
        ([ASK, {"role": "assistant", "content": None}, SAY], "empty assistant turn left out", ["q", "a"]),
        ([ASK, calls(call(), call()), result(), SAY], "a doubled call left out", ["q", "", "r", "a"]),
        ([ASK, calls(call()), result(), result(), SAY], "a doubled result left out", ["q", "", "r", "a"]),
        ([ASK, calls(call('{"a": "1", "c": 5}')), result(), SAY], "an argument's type changed to its schema's", None),
        ([ASK, calls(call({"a": 1, "c": None})), result(), SAY], "null left out where an argument is optional", None),
        ([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]}, SAY],
         "a part that is no text left out", ["q", "a"]),
        ([ASK, calls(call(), call(key="2")), result("2", "s"), result(), SAY],
         "results put in the order of their calls", ["q", "", "r", "s", "a"]),
    ],
)  # fmt: skip
def test_a_repair_is_counted_with_its_line(tmp_path, messages, repair, kept):
    (row,), repaired, refused, places = convert(tmp_path, messages)
    assert (repaired, refused, places[repair]) == ([repair], [], ["log.jsonl:1"])
    assert kept is None or [message["content"] for message in row["messages"]] == kept


def test_an_argument_takes_the_schemas_type_and_one_that_may_be_null_stays(tmp_path):
    (row,), *_ = convert(tmp_path, [ASK, calls(call({"a": "12", "b": None, "c": True})), result(), SAY])
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"a": 12, "b": None, "c": "true"}


def test_parallel_calls_in_turns_of_their_own_are_one_turn_and_ids_may_come_again_later(tmp_path):
    messages = [ASK, calls(call()), calls(call('{"a": 2}', "2")), result(), result("2"), calls(call()), result(), SAY]
    (row,), repaired, *_ = convert(tmp_path, messages)
    ids = [call["id"] for message in row["messages"] for call in message.get("tool_calls", ())]
    assert ids == ["1", "2", "1_3"] and repaired == []
    assert [m["tool_call_id"] for m in row["messages"] if m["role"] == "tool"] == ids


def test_missing_tools_are_written_by_their_calls_or_the_row_is_refused(tmp_path):
    messages = [ASK, calls(call('{"a": 1, "b": "x"}')), result(), calls(call('{"a": "y"}', "2"))]
    (row,), repaired, *_ = convert(tmp_path, {"messages": messages})
    parameters = {"type": "object", "properties": {"a": {}, "b": {"type": "string"}}, "required": ["a"]}
    assert row["tools"][0]["function"] == {"name": "add", "description": "", "parameters": parameters}
    assert repaired == ["tools written by their calls"]
    assert convert(tmp_path, {"messages": messages}, missing_tools="refuse")[2] == ["has calls but no tools"]


def test_calls_that_do_not_fit_may_be_kept(tmp_path):
    (row,), repaired, *_ = convert(tmp_path, [ASK, calls(call("{}")), result(), SAY], misfits="keep")
    assert repaired == ["kept although: a required argument is missing"] and len(row["messages"]) == 4


def test_a_row_that_comes_again_is_one_row_and_an_id_that_comes_again_is_replaced(tmp_path):
    one, other = {"id": "x", "messages": [ASK, SAY]}, {"id": "x", "messages": [ASK, {**SAY, "content": "b"}]}
    found, _, refused, places = convert(tmp_path, one, one | {"id": "y"}, other)
    assert refused == ["the same row again"] and places["the same row again"] == ["log.jsonl:2"]
    assert found[0]["id"] == "x" and len({row["id"] for row in found}) == 2


def test_a_line_that_is_too_long_is_passed_over_and_lines_after_damage_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "MOST_LINE", 1000)
    long = {"messages": [ASK, {**SAY, "content": "x" * 5000}]}
    found, _, refused, places = convert(tmp_path, long, b"\n", b'{"torn\n', [ASK, SAY])
    assert len(found) == 1 and refused == [read.LONG, "not JSON"]
    assert (places[read.LONG], places["not JSON"]) == (["log.jsonl:1"], ["log.jsonl:3"])


def test_a_long_log_is_read_as_it_goes_and_told_types_only(tmp_path):
    path = tmp_path / "session.jsonl"
    line = {"type": "progress", "sessionId": "s", "parentUuid": None, "data": "x" * 500}
    user, said = ({"type": kind, "message": message, "parentUuid": None, "uuid": kind}
                  for kind, message in (("user", ASK), ("assistant", SAY)))  # fmt: skip
    with path.open("w") as file:
        file.writelines(json.dumps(one) + "\n" for one in [user, said | {"parentUuid": "user"}])
        file.writelines(json.dumps(line) + "\n" for _ in range(2000))
        file.write(json.dumps({"type": "sk-secret9 of Bob", "sessionId": "s"}) + "\n")
    report = read.Report()
    (row,) = rows(TrajectoriesData(builder="trajectories", path=str(path)), report)
    assert [message["content"] for message in row["messages"]] == ["q", "a"]
    assert report.summary()["ignored"] == {"record progress": 2000, "record of no type": 1}


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        (prompt(f"You are Acme. Answer in French. # Tools <tools>{TOOL}</tools>"), ["You are Acme. Answer in French."]),
        (prompt(f"Be brief.\n# Tools\nUse them:\n<tools>\n{TOOL}\n</tools>\n\nFor each function call, return "
                "<tool_call>x</tool_call>\nSign it."), ["Be brief.\n\nSign it."]),
        ([ASK, calls(call()), result(content="x <tool_response>y</tool_response>"), SAY],
         ["q", "", "x <tool_response>y</tool_response>"]),
        ([ASK, calls(call()), result(content='{"name": "a.txt", "content": "hello"}'), SAY],
         ["q", "", '{"name": "a.txt", "content": "hello"}']),
        ([ASK, blocks("assistant", ("thinking", {"thinking": "t"}), ("text", {"text": "I add."}),
                      ("tool_use", {"id": "1", "name": "add", "input": {"a": 1}})),
          blocks("user", ("tool_result", {"tool_use_id": "1", "content": [{"type": "text", "text": "2"}]})), SAY],
         ["q", "I add.", "2", "a"]),
        ([{"role": "user", "content": ["q", {"type": "text", "text": "r"}, None]}, SAY], ["q\nr", "a"]),
        ([ASK, calls(call(key=None), call('{"a": 2}', None)), result(None, "[1, 2]"), result(None, "ok"), SAY],
         ["q", "", "[1, 2]", "ok", "a"]),
        ([ASK, calls(call(key=None), call('{"a": 2}', None)), result(None, "[1, 2]"), SAY], ["q", "", "1", "2", "a"]),
        ([ASK, {"role": "assistant", "content": "<think>so"}], ["q", ""]),
        ([ASK, {"role": "assistant", "content": "", "reasoning": "so"}, ASK, SAY], ["q", "", "q", "a"]),
    ],
)  # fmt: skip
def test_no_text_of_a_message_is_lost_or_taken_for_another(tmp_path, messages, texts):
    (row,), *_ = convert(tmp_path, messages)
    assert [message["content"] for message in row["messages"]][: len(texts)] == texts


def test_the_tools_of_prompt_and_record_are_joined_and_empty_ones_are_none(tmp_path):
    other = {"messages": prompt("<tools>[{'name': 'sub'}]</tools>"), "tools": [ADD]}
    found, _, refused, _ = convert(
        tmp_path, other, *({"messages": [ASK, SAY], "tools": no} for no in ("[]", "null", ""))
    )
    assert [tool["function"]["name"] for tool in found[0]["tools"]] == ["add", "sub"]
    assert refused == ["the same row again"]


def test_names_within_the_strings_of_a_python_call_stay(tmp_path):
    tool = {"name": "search", "parameters": {}}
    said = {"role": "assistant", "content": "[search(q=\"use search (fast)\", r='search (')]"}
    (row,), *_ = convert(tmp_path, {"messages": [ASK, said], "tools": [tool]})
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"q": "use search (fast)", "r": "search ("}


def test_a_whole_number_as_id_stays(tmp_path):
    assert [row["id"] for row in convert(tmp_path, {"id": 7, "messages": [ASK, SAY]})[0]] == ["7"]


def session(*records):
    keys = ("uuid", "parentUuid", "type", "content")
    given = [dict(zip(keys, record, strict=True)) for record in records]
    return [one | {"message": {"role": one["type"], "content": one["content"]}} for one in given]


def test_a_damaged_tree_of_a_session_is_refused_alone_and_ignored_records_have_places(tmp_path):
    bad = [{"type": "tool_use", "id": "1"}]
    records = session(("a", None, "user", "q"), ("b", "a", "assistant", "a"), ("c", "lost", "user", "q"),
                      ("d", "c", "assistant", "x"), ("e", None, "user", "q"), ("f", "e", "assistant", bad))  # fmt: skip
    found, _, refused, places = convert(tmp_path, *records, {"type": "summary", "summary": "", "leafUuid": "b"})
    assert len(found) == 1 and refused == ["a record's parent is missing", "a call cannot be read"]
    assert [places[why] for why in (*refused, "record summary")] == [[f"log.jsonl:{n}"] for n in (3, 5, 7)]


def test_a_codex_call_without_a_name_is_refused(tmp_path):
    item = {"type": "response_item", "payload": {"type": "function_call", "arguments": "{}", "call_id": "1"}}
    assert convert(tmp_path, item)[2] == ["a call cannot be read"]


def test_a_log_is_read_by_lines_whatever_its_first_line_is_and_a_document_by_records(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "read_bytes", None)
    assert len(convert(tmp_path, b"\n", [ASK, SAY])[0]) == len(convert(tmp_path, b'{"torn\n', [ASK, SAY])[0]) == 1
    monkeypatch.undo()
    path, report = tmp_path / "all.json", read.Report()
    path.write_text(json.dumps([{"messages": [ASK, SAY]}, 1], indent=1))
    assert len(list(rows(TrajectoriesData(builder="trajectories", path=str(path)), report))) == 1
    assert report.places["a record that is no object"] == ["all.json:record 2"]


def test_many_newlines_in_a_glaive_text_take_no_quadratic_time(tmp_path):
    text = "USER: q" + "\n" * 200_000 + "ASSISTANT: a"
    assert len(convert(tmp_path, {"system": "", "chat": text})[0]) == 1


def test_texts_that_look_like_calls_but_are_none_stay_texts(tmp_path):
    texts = ["[see (1)]", "[f(x) for x in y]", "f(a=1)", "add (a) and b", "[1, 2](link)", "\\d {'a': [(]}"]
    found, _, refused, _ = convert(tmp_path, *([ASK, {**SAY, "content": text}] for text in texts))
    assert [row["messages"][1]["content"] for row in found] == texts and refused == []
