"""Calls through kills: none lost, none paid for twice, never more in flight than allowed."""

import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from data_builders.asking.calls import read_ledger
from tests.support.asking import plan
from tests.support.faulty_server import FaultyServer, answer_to

CONCURRENCY = 8


@pytest.mark.parametrize(("count", "kills"), [(200, 4), pytest.param(1000, 20, marks=pytest.mark.soak)])
def test_many_calls_through_many_kills(tmp_path, count, kills):
    ledger, calls, faults = tmp_path / "m.jsonl", plan(count), "429,500,cut,drop,garbage,slow,no-finish"
    by_key = {call.key: call for call in calls}
    with FaultyServer(log=tmp_path / "log", faults=faults, fault_rate=0.1, latency=0.005, slow=0.2) as server:
        command = [sys.executable, "-m", "tests.support.asking", server.url, str(ledger)]
        command += [str(count), str(CONCURRENCY)]
        kept_at_kill, kept = [], 0
        for kill in range(kills + 1):
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            if kill == kills:
                assert process.wait(timeout=300) == 0, process.stderr.read()
                break
            # Killed once it has got further, wherever it then is; the clock only bounds the wait.
            wanted, until = kept + 25 + 2 * (kill % 9), time.monotonic() + 60
            while len(read_ledger(ledger)) < wanted and process.poll() is None and time.monotonic() < until:
                time.sleep(0.003)
            process.kill()
            process.wait()
            rows = read_ledger(ledger)
            assert kept < len(rows) < count
            kept_at_kill.append((time.monotonic(), set(rows)))
            kept = len(rows)
        events = server.requests()
    rows = read_ledger(ledger)
    assert set(rows) == set(by_key)
    assert all(rows[key]["text"] == answer_to(call.messages, key) for key, call in by_key.items())
    answered = [event for event in events if event["event"] == "answered"]
    for killed, keys in kept_at_kill:
        again = [e["key"] for e in answered if e["time"] > killed + 0.05 and e["key"] in keys]
        assert not again
    paid = Counter(event["key"] for event in answered)
    assert sum(paid.values()) - len(paid) <= kills * CONCURRENCY  # those in flight at a kill, and no others
    assert max(event["in_flight"] for event in events) <= CONCURRENCY


def test_the_first_interrupt_waits_for_what_is_paid_for(tmp_path):
    ledger = tmp_path / "m.jsonl"
    with FaultyServer(log=tmp_path / "log", latency=0.3) as server:
        command = [sys.executable, "-m", "tests.support.asking", server.url, str(ledger), "200", "4"]
        process = subprocess.Popen(command)
        until = time.monotonic() + 60
        while len(read_ledger(ledger)) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        answered = {event["key"] for event in server.requests() if event["event"] == "answered"}
    assert 6 <= len(answered) < 40 and set(read_ledger(ledger)) == answered
