"""OpenAI batch files: out, run elsewhere, in again; what did not work stays owed."""

import json

import pytest

from cft.errors import DataError
from cft.files import read_jsonl, write_jsonl
from cft.recipe.blocks import EndpointBlock
from data_builders.asking.batch_files import BatchFiles
from data_builders.asking.calls import Ledger
from data_builders.asking.engine import Budget
from tests.support.asking import plan

BLOCK = EndpointBlock(base_url="https://api.openai.com/v1", batch=True, max_tokens_key="max_completion_tokens")


def ask(folder, calls, model="gpt-4.1-mini", max_cost=None):
    backend = BatchFiles(BLOCK, model, folder, Budget(max_cost))
    with Ledger(folder / f"{model}.jsonl") as ledger:
        backend.answer(calls, ledger)
        return ledger.rows


def result(request, text="It is incorrect.", finish="stop", **changes):
    """One line of a results file, as a host writes it."""
    body = {
        "id": "x", "object": "chat.completion", "model": "gpt-4.1-mini-2025", "created": 1,
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None} | changes


@pytest.fixture
def requested(tmp_path):
    """The folder, the calls and the requests written for them."""
    calls = plan(6, "gpt-4.1-mini")
    with pytest.raises(DataError, match=r"6 of 6 calls wait for a batch. Run .*gpt-4.1-mini.batch-requests.jsonl"):
        ask(tmp_path, calls)
    return tmp_path, calls, [row for _, row in read_jsonl(tmp_path / "gpt-4.1-mini.batch-requests.jsonl")]


def test_requests_are_in_the_hosts_form(requested):
    _, calls, requests = requested
    assert [r["custom_id"] for r in requests] == [c.key for c in calls]
    assert {(r["method"], r["url"]) for r in requests} == {("POST", "/v1/chat/completions")}
    body = requests[0]["body"]
    assert body["messages"] == calls[0].messages and body["model"] == "gpt-4.1-mini"
    assert body["max_completion_tokens"] == 64 and "max_tokens" not in body and "stream" not in body


def test_results_are_taken_in_any_order_and_the_requests_go_away(requested):
    folder, calls, requests = requested
    write_jsonl(folder / "gpt-4.1-mini.batch-results.jsonl", [result(r) for r in reversed(requests)])
    rows = ask(folder, calls)
    assert len(rows) == 6 and not (folder / "gpt-4.1-mini.batch-requests.jsonl").exists()
    row = rows[calls[0].key]
    assert (row["served_model"], row["status"]) == ("gpt-4.1-mini-2025", "ok")
    assert row["host"] == "batch file for api.openai.com"
    assert row["cost_usd"] == pytest.approx((100 * 0.2 + 10 * 0.8) / 1e6)  # half the listed price
    assert ask(folder, calls) == rows


def test_what_failed_is_asked_again_and_what_is_there_stays(requested):
    folder, calls, requests = requested
    refused = {"error": {"code": "rate_limit", "message": "too many"}, "response": None}
    broken = {"response": {"status_code": 400, "body": {"error": {"message": "bad request"}}}}
    lines = [
        result(requests[0]), result(requests[0], text="another"), result(requests[1], finish="length"),
        result(requests[2], **refused), result(requests[3], **broken), 
        result(requests[4], response={"status_code": 200, "body": {}}),
        result({"custom_id": "of another plan"}),
    ]  # fmt: skip
    write_jsonl(folder / "gpt-4.1-mini.batch-results.jsonl", lines)
    fault = "4 of 6 calls wait for a batch. 3 results could not be used, the first: .*line 4"
    with pytest.raises(DataError, match=fault):
        ask(folder, calls)
    again = [row["custom_id"] for _, row in read_jsonl(folder / "gpt-4.1-mini.batch-requests.jsonl")]
    assert again == [c.key for c in calls[2:]]
    write_jsonl(folder / "gpt-4.1-mini.batch-results-2.jsonl", [result(r) for r in requests[2:]])
    rows = ask(folder, calls)
    assert rows[calls[0].key]["text"] == "It is incorrect." and rows[calls[1].key]["status"] == "truncated"


def test_a_results_file_that_is_none_is_named(requested):
    folder, calls, _ = requested
    (folder / "gpt-4.1-mini.batch-results.jsonl").write_text("<html>\n" + json.dumps({}) + "\n")
    with pytest.raises(DataError, match=r"batch-results.jsonl: 1 faulty line.*\n.*line 1: is not JSON"):
        ask(folder, calls)


@pytest.mark.parametrize(
    "response",
    [
        None, 5, {}, {"body": None}, {"body": 5}, {"body": {"choices": 5}}, {"body": {"choices": [5]}},
        {"status_code": 429, "body": {"error": {"message": "slow down \ud800"}}},
        {"body": {"choices": [{"finish_reason": "error", "message": {"content": "half"}}]}},
    ],
)  # fmt: skip
def test_results_of_odd_shapes_stay_owed(requested, response):
    folder, calls, requests = requested
    line = json.dumps(result(requests[0], response=response))
    (folder / "gpt-4.1-mini.batch-results.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=r"6 of 6 calls wait for a batch\. 1 results could not be used"):
        ask(folder, calls)


def test_no_batch_is_written_that_could_cost_more_than_allowed(tmp_path):
    calls = plan(6, "gpt-4.1-mini")
    with pytest.raises(DataError, match=r"--max-cost 1e-06: .* a batch of 6 calls .* could cost"):
        ask(tmp_path, calls, max_cost=1e-6)
    assert not list(tmp_path.glob("*requests*"))
    with pytest.raises(DataError, match="wait for a batch"):
        ask(tmp_path, calls, max_cost=1.0)


def test_an_odd_answer_is_read_and_spoils_no_other(requested):
    folder, calls, requests = requested
    lines = [json.dumps(result(request, text="It is \ud83d wrong.")) for request in requests]
    lines[1] = lines[1].replace(": 100,", ": NaN,").replace(": 10,", ": " + "9" * 5000 + ",")
    (folder / "gpt-4.1-mini.batch-results.jsonl").write_text("\n".join(lines))
    rows = ask(folder, calls)
    assert [row["text"] for row in rows.values()] == ["It is \ufffd wrong."] * 6
    assert [row["estimated"] for row in rows.values()] == [False, True, False, False, False, False]
