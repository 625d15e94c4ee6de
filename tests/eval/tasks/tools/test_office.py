"""The tools of the office: what they answer, what they refuse, and what a hostile call can cost."""

import resource
import time

import pytest

from eval.tasks.tools.office import MOST_CHARACTERS, MOST_FILES, MOST_SHOWN, Office

FILES = {
    "orders.csv": "id,customer,amount\n007,Ada Co,0.10\n8,Ada Co,0.20\n9,Bo Ltd,5\n",
    "notes/monday.txt": "Ada Co wants two.\nBo Ltd waits.\n",
}


@pytest.fixture
def office():
    office = Office()
    office.reset(files=FILES, id="some row", expected={})
    return office


def test_files_are_listed_with_their_columns_read_and_searched(office):
    assert office.list_files() == "notes/monday.txt: 2 lines\norders.csv: 3 rows of id, customer, amount"
    assert office.read_file("./notes/../notes/monday.txt") == "Ada Co wants two.\nBo Ltd waits."
    assert office.search("bo ltd").splitlines() == ["notes/monday.txt:2: Bo Ltd waits.", "orders.csv:4: 9,Bo Ltd,5"]


def test_a_file_that_was_written_is_a_table_at_once(office):
    assert office.write_file("new/rates.csv", "kind,rate\ncar,0.3\n") == "new/rates.csv written, 1 row of kind, rate"
    assert office.sql("SELECT rate FROM rates;") == "rate\n0.3"


def test_sums_show_no_rounding_of_binary_floats(office):
    assert office.sql("SELECT SUM(amount) FROM orders WHERE customer = 'Ada Co'") == "SUM(amount)\n0.3"
    assert office.calculate("0.1 + 0.2") == "0.3"
    assert office.calculate("(2 - 4) / 3") == "-0.666667"


def test_values_with_leading_zeros_stay_text(office):
    assert office.sql("SELECT id FROM orders WHERE id = '007'") == "id\n007"


def test_a_new_task_knows_nothing_of_the_one_before(office):
    office.write_file("left.txt", "secret")
    assert office.reset(files={"a.txt": "A", "of_another_row.txt": None}) is None
    assert office.list_files() == "a.txt: 1 line"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("read_file", {"path": "orders"}, "error: there is no file 'orders'. Files: notes/monday.txt, orders.csv."),
        ("read_file", {"path": "../../etc/passwd"}, "error: there is no file"),
        ("read_file", {"path": ["orders.csv"]}, "error: path must be a text"),
        ("write_file", {"path": "../out.txt", "text": ""}, "error: '../out.txt' cannot be a file here"),
        ("write_file", {"path": "a\0b", "text": ""}, "error: "),
        ("write_file", {"path": "x" * 10**6, "text": ""}, "error: "),
        ("write_file", {"path": "a.txt", "text": {"a": 1}}, "error: text must be a text"),
        ("write_file", {"path": "a.txt", "text": "x" * (MOST_CHARACTERS + 1)}, "error: 20001 characters"),
        ("search", {"text": " "}, "error: the text is empty"),
        ("calculate", {"expression": "9 ** 9 ** 9"}, "error: "),
        ("calculate", {"expression": "__import__('os')"}, "error: "),
        ("calculate", {"expression": "1" * 10**6}, "error: "),
        ("calculate", {"expression": "(" * 10**5}, "error: "),
        ("calculate", {"expression": "price * 2"}, "error: 'price' is no number"),
        ("calculate", {"expression": "1 / 0"}, "error: a division by zero"),
        ("sql", {"query": "SELECT price FROM orders"}, "error: no such column: price. Tables: orders(id, customer, am"),
        ("sql", {"query": "DELETE FROM orders"}, "error: only SELECT can be run"),
        ("sql", {"query": "ATTACH '/tmp/x.db' AS x"}, "error: only SELECT can be run"),
        ("sql", {"query": "PRAGMA temp_store_directory = '/'"}, "error: only SELECT can be run"),
        ("sql", {"query": "SELECT load_extension('x.so')"}, "error: "),
        ("sql", {"query": "SELECT 1; SELECT 2"}, "error: "),
        ("sql", {"query": ""}, "error: "),
        ("sql", {"query": "SELECT " + "1 + " * 10**5 + "1"}, "error: the query has"),
    ],
)
def test_a_wrong_call_is_told_its_fault_and_changes_nothing(office, tool, arguments, said):
    assert getattr(office, tool)(**arguments).startswith(said)
    assert office.files == FILES


ENDLESS = "WITH RECURSIVE r(x) AS (SELECT {0} UNION ALL SELECT {1} FROM r) SELECT {2} FROM r"


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS.format("1", "x + 1", "COUNT(*)"),
        ENDLESS.format("hex(zeroblob(1900))", "x", "*") + " ORDER BY x",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT printf('%1000000000d', 1)",
        "SELECT hex(zeroblob(1900)) LIKE '" + "%0" * 20 + "1'",
        "SELECT COUNT(*) FROM " + ", ".join(f"orders o{i}" for i in range(30)),
        "SELECT group_concat(hex(zeroblob(1900))) FROM orders a, orders b, orders c",
    ],
)
def test_no_query_takes_long_or_much_memory(office, query):
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    assert len(office.sql(query)) <= MOST_SHOWN + 100
    assert time.thread_time() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB


def test_long_results_are_cut_with_a_note_and_files_are_bounded_in_number(office):
    office.write_file("long.txt", "x" * MOST_CHARACTERS)
    assert office.read_file("long.txt").endswith(f"... cut: {MOST_SHOWN} of {MOST_CHARACTERS} characters shown")
    assert office.sql("SELECT a.id FROM orders a, orders b, orders c, orders d").endswith("... only 30 rows shown")
    said = [office.write_file(f"{i}.txt", "") for i in range(MOST_FILES)]
    assert len(office.files) == MOST_FILES and said[-1].startswith(f"error: there are {MOST_FILES} files already")


def test_a_damaged_table_is_named_with_its_row(office):
    office.write_file("orders.csv", "id,customer\n1,Ada,extra\n")
    assert office.sql("SELECT 1").startswith("error: orders.csv: row 2 has 3 values for 2 columns")
