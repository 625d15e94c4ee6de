"""Servers that cost money or trust: no usage, no pause, odd sizes, keys sent back, redirects, proxies."""

import itertools
import json
import time
from email.utils import formatdate

import pytest
from rich.console import Console

from cft.errors import DataError
from cft.recipe.blocks import EndpointBlock, ModelBlock
from data_builders.asking import endpoint
from data_builders.asking.backends import Asking
from data_builders.asking.calls import Ledger, read_ledger
from data_builders.asking.connection import connection_fault, retry_after
from data_builders.asking.engine import Budget
from data_builders.build import build
from data_builders.estimate import estimate_calls
from tests.support.asking import ask, odd_server, pieces, plan, whole
from tests.support.building import WRONG, data

KEY = "sk-secret-0123456789abcdef"
DOLLAR_A_TOKEN = {"input": 0, "output": 1e6}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TEST_KEY", KEY)


def replied(body, status=200, **headers):
    return lambda path, request: (status, {k.replace("_", "-"): v for k, v in headers.items()}, body)


@pytest.mark.parametrize(
    "usage", [None, {"prompt_tokens": -9, "completion_tokens": -(10**6)}, {"completion_tokens": "1"}]
)
def test_max_cost_stops_whatever_usage_a_server_tells(tmp_path, usage):
    with odd_server(lambda path, request: whole("x" * 100, usage=usage)) as (url, seen):
        for _ in range(2):  # what is kept counts for the same command, given again
            with pytest.raises(DataError, match=r"--max-cost 150: \$\d+\.0000 is spent"):
                ask(url, tmp_path / "m.jsonl", plan(12), Budget(150), price=DOLLAR_A_TOKEN, stream=False)
    rows = read_ledger(tmp_path / "m.jsonl").values()
    assert len(seen) == len(rows) == 3 and all(row["estimated"] and row["cost_usd"] == 40 for row in rows)


def test_rows_of_unknown_cost_count_as_an_estimate(tmp_path):
    ledger = tmp_path / "m.jsonl"
    with odd_server(lambda path, request: whole("x" * 100)) as (url, seen):
        rows = ask(url, ledger, plan(3), price=DOLLAR_A_TOKEN)
        ledger.write_text("".join(json.dumps(row | {"cost_usd": None}) + "\n" for row in rows.values()))
        with pytest.raises(DataError, match=r"--max-cost 150: \$120.0000 is spent"):
            ask(url, ledger, plan(4), Budget(150), price=DOLLAR_A_TOKEN)
    assert len(seen) == 3


def test_card_and_plan_say_what_is_estimated_and_every_limit_holds(tmp_path):
    count = itertools.count(84)
    answers = odd_server(lambda path, request: whole(WRONG.replace("83", str(next(count))), usage=None))
    with answers as (url, _):
        students = [{"samples": 6, "model": "m", "endpoint": {"base_url": url, "price": {"input": 1.0, "output": 1e4}}}]
        block = data(students=students, max_candidates=2)
        asking = Asking(ModelBlock(id="tiny"), tmp_path / "calls", Console(quiet=True))
        counts = build(block, folder=tmp_path / "out", seed=0, asking=asking)
    assert counts["set_aside"] == {"not chosen": 4} and counts["estimated"] == 6
    assert "Tokens of 6 answers are estimated" in (tmp_path / "out" / "README.md").read_text()
    (row,) = estimate_calls(block, 0, "tiny", tmp_path / "calls")
    assert (row["kept"], row["estimated"]) == (6, 6)


def test_attempts_that_broke_off_are_paid_for_too(tmp_path):
    stopped = pytest.raises(DataError, match=r"--max-cost 150: \$120.0000 is spent")
    with odd_server(lambda path, request: whole("x" * 100, "error")) as (url, seen), stopped:
        ask(url, tmp_path / "m.jsonl", plan(9), Budget(150), price=DOLLAR_A_TOKEN, concurrency=1, max_attempts=9)
    assert len(seen) == 3


def test_a_cost_that_is_no_amount_is_refused():
    for cost in (float("nan"), -1.0):
        with pytest.raises(DataError, match="is no amount"):
            Budget(cost)


@pytest.mark.parametrize("after", ["0", "-5", "nan", formatdate(0, usegmt=True), "soon", "0.001"])
def test_a_server_that_says_at_once_is_not_flooded(tmp_path, after):
    limited = replied(b'{"error": {"message": "slow down"}}', 429, Retry_After=after)
    with odd_server(limited) as (url, seen), pytest.raises(DataError, match="429 rate limit: slow down"):
        ask(url, tmp_path / "m.jsonl", plan(40), concurrency=4, patience=1.0)
    assert len(seen) <= 4 * 7  # waits of 0.05 s at least, which double


def test_a_rate_limit_in_a_body_with_status_200_pauses_and_uses_up_no_attempt(tmp_path):
    left = [5]

    def answer(path, request):
        left[0] -= 1
        return {"error": {"message": "Provider returned error", "code": 429}} if left[0] > 0 else whole()

    with odd_server(answer) as (url, _):
        rows = ask(url, tmp_path / "m.jsonl", plan(2), concurrency=1, max_attempts=1)
    assert [row["text"] for row in rows.values()] == ["It is \\boxed{5}."] * 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7), ("1e30", 366 * 86400), ("1" + "0" * 400, 366 * 86400), ("inf", 366 * 86400), ("nan", None), ("-3", 0),
        ("", None), ("soon", None), ("Mon, 01 Jan 2030 00:00:00 +99999999999999999999", None),
        ("Mon, 99 Jan 99999 99:99:99 +999999", None), ("Fri, 31 Dec 9999 23:59:59 -2359", 366 * 86400),
    ],
)  # fmt: skip
def test_what_a_server_asks_to_wait_is_a_time(value, seconds):
    assert retry_after({"retry-after": value}) == seconds


def test_a_time_to_wait_is_read_by_the_servers_clock():
    date, after = (formatdate(time.time() + seconds, usegmt=True) for seconds in (3600, 3602))
    assert retry_after({"retry-after": after, "date": date}) == 2


@pytest.mark.parametrize("body", [json.dumps(whole("x" * 500_000)).encode(), pieces(*["x" * 500] * 1000)])
def test_a_body_of_any_size_is_read_to_a_bound_and_kept_as_cut_off(tmp_path, monkeypatch, body):
    monkeypatch.setattr(endpoint, "MOST_BYTES", 100_000)
    with odd_server(replied(body)) as (url, seen):
        for _ in range(2):
            (row,) = ask(url, tmp_path / "m.jsonl", plan(1), price=DOLLAR_A_TOKEN).values()
    assert len(seen) == 1 and row["status"] == "truncated" and len(row["text"]) < 4000 and row["cost_usd"] >= 64


@pytest.mark.parametrize("stream", [True, False])
def test_a_key_that_a_server_sends_back_is_in_no_file_and_no_message(tmp_path, stream):
    def answer(path, request):
        if "Question 0" in request["messages"][0]["content"]:
            return whole(f"Your key is {KEY}.", model=f"m-{KEY}")
        return 400, {}, json.dumps({"error": {"message": f"{'x' * 280} {KEY} {' '.join(KEY)}"}}).encode()

    with odd_server(answer) as (url, seen), pytest.raises(DataError) as caught:
        ask(url, tmp_path / "m.jsonl", plan(8), api_key_env="TEST_KEY", stream=stream, concurrency=1)
    text = (tmp_path / "m.jsonl").read_text() + str(caught.value)
    assert "Your key is ***." in text and "secret" not in text and " ".join("secret") not in text
    assert seen[0]["headers"]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["two words-0123", "line\nend-0123", "bell\a0123456", "schlüssel-0123"])
def test_what_no_key_can_be_is_refused_and_not_repeated(tmp_path, monkeypatch, key):
    monkeypatch.setenv("TEST_KEY", key)
    with odd_server(replied(b"{}")) as (url, seen), pytest.raises(DataError, match="TEST_KEY: holds white") as caught:
        ask(url, tmp_path / "m.jsonl", plan(1), api_key_env="TEST_KEY")
    assert not seen and "0123" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_prompts_and_keys_are_not_sent_on_to_another_host(tmp_path, status):
    with odd_server(lambda path, request: whole()) as (other, leaked):
        moved = odd_server(replied(b"", status, Location=other))
        with moved as (url, seen), pytest.raises(DataError, match=f"{status}: it sends on to {other}.*base_url"):
            ask(url, tmp_path / "m.jsonl", plan(5), api_key_env="TEST_KEY", concurrency=1)
    assert len(seen) == 1 and not leaked


def test_a_finish_reason_that_is_not_known_is_said_once(tmp_path):
    lines = []
    with odd_server(lambda path, request: whole("half", "fancy")) as (url, _), Ledger(tmp_path / "m.jsonl") as ledger:
        block = EndpointBlock(base_url=url)
        endpoint.Endpoint(block, "m", Budget(), lambda *line: lines.append(line[0])).answer(plan(5), ledger)
    assert lines == [f"{block.host}: finish_reason 'fancy' is not known: it counts as cut off"]


def test_proxies_of_the_environment_count_for_the_check_and_for_the_calls(tmp_path, monkeypatch):
    assert "Name or service not known" in connection_fault("http://no-such-host.invalid/v1")
    with odd_server(lambda path, request: whole()) as (proxy, seen):
        monkeypatch.setenv("HTTP_PROXY", proxy.removesuffix("/v1"))
        assert connection_fault("http://no-such-host.invalid/v1") is None
        assert len(ask("http://no-such-host.invalid/v1", tmp_path / "m.jsonl", plan(2))) == 2
        assert seen[0]["path"] == "http://no-such-host.invalid/v1/chat/completions"
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert "refused" in connection_fault(proxy)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert connection_fault(proxy) is None


@pytest.mark.parametrize(("proxy", "cure"), [("socks5://127.0.0.1:1", r"httpx2\[socks\]"), ("ftp://h", "HOST:PORT")])
def test_a_proxy_that_cannot_be_used_is_named_with_the_cure(tmp_path, monkeypatch, proxy, cure):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(DataError, match=f"ALL_PROXY.*{cure}"):
        connection_fault("http://127.0.0.1:9/v1")
    with pytest.raises(DataError, match=f"ALL_PROXY.*{cure}"):
        ask("http://127.0.0.1:9/v1", tmp_path / "m.jsonl", plan(1))
