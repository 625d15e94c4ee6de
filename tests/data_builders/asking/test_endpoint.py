"""An OpenAI-compatible endpoint that misbehaves: what is tried again, what is kept, what stops the run."""

import json
import threading
import time

import pytest

from cft.errors import DataError
from data_builders.asking.calls import Price, read_ledger
from data_builders.asking.engine import Budget
from tests.support.asking import ask, plan
from tests.support.faulty_server import FaultyServer, answer_to

BAD = ["429", "429-date", "500", "503-html", "cut", "drop", "garbage", "html-200", "wrong-shape", "slow"]
KEY = "sk-secret-0123456789abcdef"


@pytest.fixture
def served(tmp_path):
    """Starts a server and gives it with the path of a ledger: `served(faults=..., ...)`."""
    open_servers = []

    def start(**options):
        server = FaultyServer(log=tmp_path / f"log{len(open_servers)}", **{"latency": 0.0, "seed": 1} | options)
        open_servers.append(server)
        return server.__enter__(), tmp_path / "m.jsonl"

    yield start
    for server in open_servers:
        server.__exit__(None, None, None)


def count(server, event):
    return sum(e["event"] == event for e in server.requests())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", BAD)
def test_what_may_work_another_time_is_tried_again(served, fault, stream):
    server, ledger = served(faults=fault, fault_rate=0.4, slow=0.1)
    calls = plan(12)
    rows = ask(server.url, ledger, calls, stream=stream, concurrency=4, max_attempts=12)
    assert [rows[call.key]["text"] for call in calls] == [answer_to(call.messages, call.key) for call in calls]
    assert count(server, "answered") == 12
    if fault != "slow":
        assert count(server, "fault") == sum(row["attempts"] - 1 for row in rows.values()) > 0


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_stalls_is_tried_again(served, stream):
    server, ledger = served(faults="stall", fault_rate=0.3)
    rows = ask(server.url, ledger, plan(6), stream=stream, concurrency=6, timeout=0.5, max_attempts=12)
    assert len(rows) == 6 and max(row["seconds"] for row in rows.values()) < 0.5


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["empty", "truncated", "refused", "no-finish"])
def test_what_was_paid_for_is_kept_with_its_status_and_never_asked_again(served, fault, stream):
    server, ledger = served(always=fault)
    status = "truncated" if fault == "no-finish" else fault
    for _ in range(2):
        rows = ask(server.url, ledger, plan(3), stream=stream)
        assert [row["status"] for row in rows.values()] == [status] * 3
    assert count(server, "answered") == 3


def test_a_row_tells_usage_served_model_host_and_cost(served):
    server, ledger = served()
    ask(server.url, ledger, plan(1), price={"input": 1000, "output": 2000})
    (row,) = read_ledger(ledger).values()
    assert row["served_model"] == "fake-teacher-0613" and row["model"] == "fake-teacher"
    assert row["host"] == server.url.split("/")[2] and row["input_tokens"] > 0 and row["output_tokens"] > 0
    assert row["cost_usd"] == pytest.approx(row["input_tokens"] / 1e3 + row["output_tokens"] / 500)


def test_a_rate_limit_that_lasts_is_waited_out_and_uses_up_no_attempt(served):
    server, ledger = served(faults="429", fault_rate=0.85, retry_after=0.02)
    rows = ask(server.url, ledger, plan(10), concurrency=4, max_attempts=1)
    assert len(rows) == 10 and max(row["attempts"] for row in rows.values()) > 3


def test_a_call_that_cannot_be_answered_is_not_tried_again_and_the_others_go_on(served):
    server, ledger = served(faults="400", fault_rate=0.3, seed=5)
    ask(server.url, ledger, plan(1))  # so that it is seen to work
    with pytest.raises(DataError, match=r"calls were given up, the last one: 400.*context_length_exceeded.*still owed"):
        ask(server.url, ledger, plan(20))
    kept = len(read_ledger(ledger))
    assert 5 < kept < 20 and count(server, "request") <= 21 + 1
    assert kept + sum(json.loads(line)["status"] == "failed" for line in ledger.read_text().splitlines()) >= 20


@pytest.mark.parametrize(
    ("options", "settings", "fault"),
    [
        ({"always": "400"}, {}, "400"),  # settings that the server refuses
        ({"always": "429", "retry_after": 7200}, {}, "asks to wait 7200 s"),
        ({"require_key": KEY}, {}, "answers 401: the API key is missing"),
        ({"require_key": "other"}, {"api_key_env": "TEST_KEY"}, "answers 401: the API key is not accepted.*TEST_KEY"),
        ({"only_model": "another"}, {}, "answers 404: model 'fake-teacher' or the address is not known there"),
    ],
)
def test_what_fails_for_every_call_stops_at_once_and_the_key_is_in_no_message_and_no_file(
    served, tmp_path, monkeypatch, options, settings, fault
):
    monkeypatch.setenv("TEST_KEY", KEY)
    server, ledger = served(**options)
    with pytest.raises(DataError, match=fault) as caught:
        ask(server.url, ledger, plan(40), concurrency=3, **settings)
    assert count(server, "request") <= 3
    assert KEY not in str(caught.value) + repr(caught.value.__cause__) + ledger.read_text()


def test_a_key_from_the_environment_is_sent(served, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    server, ledger = served(require_key=KEY)
    assert len(ask(server.url, ledger, plan(2), api_key_env="TEST_KEY")) == 2
    assert KEY not in ledger.read_text()


def test_a_key_that_is_not_set_is_told_before_any_call(served):
    server, ledger = served()
    with pytest.raises(DataError, match=r"UNSET_KEY: is not set.*export UNSET_KEY="):
        ask(server.url, ledger, plan(2), api_key_env="UNSET_KEY")
    assert count(server, "request") == 0


def test_an_endpoint_that_is_down_is_given_up_soon(tmp_path):
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"127.0.0.1:9: nothing has worked yet, so it was stopped. The last fault: "):
        ask("http://127.0.0.1:9/v1", tmp_path / "m.jsonl", plan(100))
    assert time.monotonic() - begun < 15


def test_an_endpoint_that_goes_down_in_the_middle_keeps_what_it_gave(served):
    server, ledger = served(down_after=30)
    with pytest.raises(DataError, match=r"no answer for .*What was answered is kept"):
        ask(server.url, ledger, plan(100), concurrency=4, patience=1.0, max_attempts=50)
    assert 30 <= len(read_ledger(ledger)) <= 34


def test_a_server_that_comes_back_is_asked_again_and_no_call_is_lost(served):
    first, ledger = served(latency=0.02, down_after=10)
    port, calls, again = int(first.url.rpartition(":")[2].partition("/")[0]), plan(60), []

    def restart():
        until = time.monotonic() + 30
        while len(read_ledger(ledger)) < 10 and time.monotonic() < until:
            time.sleep(0.01)
        first.__exit__()
        again.append(served(port=port)[0])

    restarter = threading.Thread(target=restart)
    restarter.start()
    rows = ask(first.url, ledger, calls, concurrency=4, max_attempts=50)
    restarter.join()
    assert [rows[call.key]["text"] for call in calls] == [answer_to(call.messages, call.key) for call in calls]
    assert count(first, "answered") + count(again[0], "answered") == len(calls)


def test_a_rate_limit_pauses_all_calls(served):
    server, ledger = served(always="429", retry_after=0.5)
    with pytest.raises(DataError, match="nothing has worked yet, so it was stopped"):
        ask(server.url, ledger, plan(40), concurrency=4, patience=1.2)
    assert count(server, "request") <= 4 * 4  # at 0, 0.5, 1.0 and 1.5 s


def test_calls_that_give_up_leave_the_others_alone(served):
    server, ledger = served(faults="500", fault_rate=0.5, seed=3)
    with pytest.raises(DataError, match="of 30 calls were given up, the last one: 500"):
        ask(server.url, ledger, plan(30), max_attempts=1, concurrency=4)
    kept = len(read_ledger(ledger))
    assert 5 < kept < 25
    with pytest.raises(DataError, match=f"of {30 - kept} calls were given up"):
        ask(server.url, ledger, plan(30), max_attempts=1, concurrency=4)


def test_max_cost_stops_before_the_call_that_could_go_over(served):
    server, ledger = served()
    price = {"input": 0.123, "output": 1e6 / 64}  # a call of 64 tokens costs at most one dollar, and a little
    with pytest.raises(DataError, match=r"--max-cost 5: .* is spent and the next call could cost \$1.00"):
        ask(server.url, ledger, plan(200), Budget(5.0), concurrency=4, price=price)
    rows = read_ledger(ledger)
    spent = sum(row["cost_usd"] for row in rows.values())
    assert 4.0 < spent <= 5.0
    budget = Budget(5.0)
    with pytest.raises(DataError, match="--max-cost"):  # kept answers count: the same command does not spend it again
        ask(server.url, ledger, plan(200), budget, concurrency=4, price=price)
    assert len(read_ledger(ledger)) <= len(rows) + 1 and budget.spent <= 5.0


def test_max_cost_needs_a_price(served):
    server, ledger = served()
    with pytest.raises(DataError, match=r"the price of fake-teacher at .* is not known. Give it as price:"):
        ask(server.url.replace("127.0.0.1", "example.invalid"), ledger, plan(2), Budget(1.0))
    assert count(server, "request") == 0
    assert Price(1, 2).cost(1e6, 1e6) == 3


def test_duplicate_calls_are_asked_once_and_never_more_in_flight_than_allowed(served):
    server, ledger = served(latency=0.02)
    assert len(ask(server.url, ledger, plan(60) + plan(60), concurrency=7)) == 60 == count(server, "request")
    assert max(event["in_flight"] for event in server.requests()) == 7
