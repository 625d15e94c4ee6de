"""Several servers with the same model: who is asked, who is left out, who comes back, and that no call is lost."""

import threading
import time
from collections import Counter

import pytest

from cft.errors import DataError
from cft.recipe.blocks import EndpointBlock
from data_builders.asking import servers as servers_module
from data_builders.asking.calls import Price, read_ledger
from data_builders.asking.endpoint import Endpoint
from data_builders.asking.engine import Budget
from data_builders.asking.prices import find_price
from data_builders.asking.servers import FAULTS_IN_A_ROW, TRY_AGAIN, Servers, hosts_of
from tests.support.asking import ask, plan
from tests.support.faulty_server import FaultyServer, answer_to

A, B = "http://a:1/v1", "http://b:2/v1"
GONE = "http://127.0.0.1:9/v1"


@pytest.fixture
def serve(tmp_path):
    """Starts servers; all are stopped at the end of the test."""
    running = []

    def start(**options) -> FaultyServer:
        server = FaultyServer(tmp_path / f"log-{len(running)}", **{"latency": 0.0, "seed": 1} | options)
        running.append(server.__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "m.jsonl"


def host(server: FaultyServer) -> str:
    return server.url.split("/")[2]


def events(server: FaultyServer, kind: str) -> list[dict]:
    return [event for event in server.requests() if event["event"] == kind]


def check_all(rows: dict, calls: list, *asked: FaultyServer) -> None:
    """Every call has its own answer, in the ledger once, and was answered once in all."""
    assert [rows[call.key]["text"] for call in calls] == [answer_to(call.messages, call.key) for call in calls]
    paid = Counter(event["key"] for server in asked for event in events(server, "answered"))
    assert paid == Counter(call.key for call in calls)


# Which server is next, with a clock of our own


def three():
    said = []
    return Servers([A, B, "http://c:3/v1"], said.append), said


def test_the_fewest_in_flight_then_the_fewest_given_is_next():
    found, _ = three()
    a, b, c = found.all
    a.in_flight, b.in_flight = 2, 1
    assert found.choose(0, 8) is c
    c.in_flight, b.given, c.given = 1, 5, 4
    assert found.choose(0, 8) is c
    assert found.choose(0, 8, avoid={c}) is b
    assert found.choose(0, 8, avoid={a, b, c}) is c  # all have failed it: any may be asked
    assert found.choose(0, 1) is None and found.wait(0) > 0  # one at each is the most


def test_a_pause_is_that_servers_alone():
    found, _ = three()
    a, b, c = found.all
    a.resume_at = 10
    assert found.choose(9, 1) is b and found.choose(10, 1) is a
    b.in_flight = c.in_flight = 1
    assert found.choose(9, 1) is None and found.choose(10, 1) is a
    b.resume_at = c.resume_at = 9.5
    assert found.wait(9) == 0.5


def test_several_faults_in_a_row_leave_a_server_out_until_one_call_brings_it_back():
    found, said = three()
    a, b, c = found.all
    for _ in range(FAULTS_IN_A_ROW - 1):
        found.failed(a, 0, "500")
    found.answered(a)  # not in a row
    for _ in range(FAULTS_IN_A_ROW):
        found.failed(a, 100, "500: broken")
    found.failed(a, 100, "500: one that was in flight")
    assert found.in_use == [b, c] and len(said) == 1
    assert said[0].startswith(f"a:1: {FAULTS_IN_A_ROW} faults in a row (500: broken)") and "b:2, c:3" in said[0]
    assert found.choose(100 + TRY_AGAIN - 1, 8) is not a
    now = 100 + TRY_AGAIN
    assert found.choose(now, 8) is a
    a.in_flight = 1
    assert found.choose(now, 8) is not a  # one call tries it, no more
    a.in_flight = 0
    found.failed(a, now, "500")
    assert found.choose(now + TRY_AGAIN - 1, 8) is not a and found.choose(now + TRY_AGAIN, 8) is a
    found.answered(a)
    assert found.in_use == [a, b, c] and said[1:] == ["a:1: answers again, so it is asked again"]


def test_the_last_server_is_never_left_out():
    found, said = three()
    a, b, c = found.all
    for server in (a, b, c):
        for _ in range(20):
            found.failed(server, 0, "500")
    assert found.in_use == [c] and len(said) == 2
    found.unreachable(c, 0, "refused")
    assert found.in_use == [c] and not found.waits_too_long(c, 0, 900)
    assert found.waits_too_long(a, 0, 900) and a.try_at == 900


def test_hosts_tell_addresses_apart():
    assert hosts_of([A, "https://b/v1"]) == ["a:1", "b"]
    assert hosts_of(["http://a/one/v1", "http://a/two/v1"]) == ["a/one/v1", "a/two/v1"]


def test_the_price_of_several_is_the_dearest_and_known_only_if_all_are():
    hosted, here = "https://api.openai.com/v1", "http://localhost:1/v1"
    listed = find_price(EndpointBlock(base_url=hosted), "gpt-4.1-mini")
    assert listed.output > 0
    assert find_price(EndpointBlock(base_url=[here, hosted]), "gpt-4.1-mini") == listed
    both = Endpoint(EndpointBlock(base_url=[here, hosted]), "gpt-4.1-mini", Budget())
    assert {both.at(server).host: both.at(server).price for server in both.servers.all} == {
        "api.openai.com": listed, "localhost:1": Price(0, 0)
    }  # fmt: skip
    assert find_price(EndpointBlock(base_url=[here, "https://example.invalid/v1"]), "gpt-4.1-mini") is None
    assert find_price(EndpointBlock(base_url=[here, "http://localhost:2/v1"]), "any") == Price(0, 0)


# With real servers


def test_two_servers_share_the_work(serve, ledger):
    one, two = serve(latency=0.03), serve(latency=0.03)
    calls, said = plan(80), []
    rows = ask([one.url, two.url], ledger, calls, said=said, concurrency=4)
    check_all(rows, calls, one, two)
    assert {row["host"] for row in rows.values()} == {host(one), host(two)}
    for server in (one, two):
        assert 30 <= len(events(server, "answered")) <= 50
        assert max(event["in_flight"] for event in server.requests()) == 4
    assert not said


def test_a_slow_server_gets_fewer_calls(serve, ledger):
    slow, fast = serve(latency=0.3), serve(latency=0.02)
    calls = plan(80)
    check_all(ask([slow.url, fast.url], ledger, calls, concurrency=4), calls, slow, fast)
    assert 4 <= len(events(slow, "answered")) * 3 < len(events(fast, "answered"))


def test_who_answered_before_is_not_asked_again_when_the_servers_change(serve, ledger):
    one, two, three = serve(), serve(), serve()
    calls = plan(30)
    ask(one.url, ledger, calls[:20])
    rows = ask([two.url, three.url], ledger, calls)
    check_all(rows, calls, one, two, three)
    assert len(events(two, "request")) + len(events(three, "request")) == 10
    ask(one.url, ledger, calls)
    assert len(events(one, "request")) == 20


@pytest.mark.parametrize("max_attempts", [1, 6])
def test_a_server_that_is_killed_is_left_out_and_no_call_is_lost_or_charged(serve, ledger, max_attempts):
    dies, stays = serve(latency=0.05), serve(latency=0.05)
    calls, said = plan(120), []

    def kill():
        until = time.monotonic() + 30
        while len(read_ledger(ledger)) < 30 and time.monotonic() < until:
            time.sleep(0.01)
        dies.process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    rows = ask([dies.url, stays.url], ledger, calls, said=said, concurrency=4, max_attempts=max_attempts)
    killer.join()
    assert [rows[call.key]["text"] for call in calls] == [answer_to(call.messages, call.key) for call in calls]
    lines = ledger.read_text().splitlines()
    assert len(lines) == len(calls) and not any('"failed"' in line for line in lines)
    assert len(said) == 1 and said[0].startswith(f"{host(dies)}: {FAULTS_IN_A_ROW} faults in a row")
    assert f"{host(stays)} will be asked instead" in said[0]


@pytest.mark.parametrize("max_attempts", [1, 6])
def test_a_server_that_was_never_there_costs_no_attempt(serve, ledger, max_attempts):
    there = serve(latency=0.02)
    calls, said = plan(60), []
    rows = ask([GONE, there.url], ledger, calls, said=said, concurrency=4, max_attempts=max_attempts)
    check_all(rows, calls, there)
    assert len(said) == 1 and said[0].startswith("127.0.0.1:9: 3 faults in a row")


def test_a_server_that_answers_only_with_errors_is_left_out(serve, ledger):
    broken, sound = serve(always="500"), serve(latency=0.02)
    calls, said = plan(60), []
    check_all(ask([broken.url, sound.url], ledger, calls, said=said, concurrency=4), calls, sound)
    assert len(said) == 1 and "500" in said[0] and len(events(broken, "request")) <= 8


def test_a_server_that_comes_back_is_asked_again(serve, ledger, monkeypatch):
    monkeypatch.setattr(servers_module, "TRY_AGAIN", 0.3)
    first, stays = serve(latency=0.02, down_after=5), serve(latency=0.05)
    again = []

    def restart():
        until = time.monotonic() + 30
        while len(read_ledger(ledger)) < 25 and time.monotonic() < until:
            time.sleep(0.01)
        first.__exit__()
        again.append(serve(latency=0.02, port=int(host(first).partition(":")[2])))

    restarter = threading.Thread(target=restart)
    restarter.start()
    calls, said = plan(300), []
    rows = ask([first.url, stays.url], ledger, calls, said=said, concurrency=2)
    restarter.join()
    check_all(rows, calls, first, stays, *again)
    assert len(said) == 2 and said[1] == f"{host(first)}: answers again, so it is asked again"
    assert len(events(again[0], "answered")) > 20


def test_a_rate_limit_pauses_only_the_server_that_has_it(serve, ledger):
    limited, free = serve(always="429", retry_after=1.0), serve(latency=0.02)
    calls = plan(60)
    begun = time.monotonic()
    check_all(ask([limited.url, free.url], ledger, calls, concurrency=4, max_attempts=1), calls, free)
    assert len(events(limited, "request")) <= 4 * (2 + time.monotonic() - begun)


def test_a_rate_limit_of_hours_leaves_a_server_out(serve, ledger):
    limited, free = serve(always="429", retry_after=7200), serve(latency=0.02)
    calls, said = plan(40), []
    check_all(ask([limited.url, free.url], ledger, calls, said=said, concurrency=4), calls, free)
    assert len(said) == 1 and "asks to wait 7200 s" in said[0]


def test_a_call_that_every_server_fails_is_given_up_and_the_others_go_on(serve, ledger):
    one, two = serve(faults="500", fault_rate=0.4, seed=3), serve(faults="500", fault_rate=0.4, seed=4)
    with pytest.raises(DataError, match=r"of 100 calls were given up, the last one: 127.0.0.1:\d+: 500"):
        ask([one.url, two.url], ledger, plan(100), concurrency=2, max_attempts=1)
    assert 20 < len(read_ledger(ledger)) < 100


def test_all_down_is_told_soon(ledger):
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"127.0.0.1:9, 127.0.0.1:99: nothing has worked yet.*The last fault: 127.0.0"):
        ask([GONE, "http://127.0.0.1:99/v1"], ledger, plan(100))
    assert time.monotonic() - begun < 15


def test_all_going_down_in_the_middle_keeps_what_they_gave(serve, ledger):
    one, two = serve(down_after=15), serve(down_after=15)
    with pytest.raises(DataError, match=r"no answer for .*What was answered is kept"):
        ask([one.url, two.url], ledger, plan(100), concurrency=4, patience=1.0, max_attempts=50)
    assert 30 <= len(read_ledger(ledger)) <= 38


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"only_model": "another"}, "answers 404: model 'fake-teacher' or the address is not known there"),
        ({"require_key": "x"}, "answers 401: the API key is missing"),
        ({"served_model": "another"}, "must have the same model: give it one name on all of them"),
    ],
)
def test_a_server_without_the_model_or_with_another_stops_it(serve, ledger, options, fault):
    right, wrong = serve(latency=0.02), serve(latency=0.02, **options)
    with pytest.raises(DataError, match=fault) as caught:
        ask([right.url, wrong.url], ledger, plan(60), concurrency=2)
    assert host(wrong) in str(caught.value)
    assert len(read_ledger(ledger)) < 10


def test_the_budget_holds_for_all_servers_together(serve, ledger):
    one, two = serve(latency=0.01), serve(latency=0.01)
    price = {"input": 0.0, "output": 1e6 / 64}
    with pytest.raises(DataError, match=r"--max-cost 5: .* is spent and the next call could cost \$1.00"):
        ask([one.url, two.url], ledger, plan(200), Budget(5.0), concurrency=2, price=price)
    assert 4.0 < sum(row["cost_usd"] for row in read_ledger(ledger).values()) <= 5.0


def test_max_cost_needs_the_price_at_every_server(serve, ledger):
    one = serve()
    with pytest.raises(DataError, match=r"the price of fake-teacher at .*, example.invalid is not known"):
        ask([one.url, "http://example.invalid/v1"], ledger, plan(2), Budget(1.0))
    assert not events(one, "request")
