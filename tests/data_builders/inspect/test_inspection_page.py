"""The page of training data: nothing in a text becomes HTML, nothing is fetched, the filters work in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from cft.errors import DataError
from cft.files import write_jsonl
from data_builders.inspect.inspection import load_items
from data_builders.inspect.inspection_page import TEMPLATE, count, write_page
from tests.support.inspecting import CRITIQUES, candidate, critique, write_folder

EVIL = '</script><script>alert(1)</script> <b>bold</b> & "quoted" <!-- {{title}} {{data}} \u2028 </textarea>'


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


def page_of(items, tmp_path, title="bakery"):
    path = tmp_path / "page.html"
    write_page(items, path, title)
    return path.read_text(encoding="utf-8")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_texts_arrive_whole_and_cannot_leave_their_element(folder, tmp_path):
    write_jsonl(folder / "candidates.jsonl", [candidate("b-370", text=EVIL)])
    write_jsonl(folder / "critiques.jsonl", [critique("k1", "b-370", text=EVIL, teacher=EVIL)])
    page = page_of(load_items(folder), tmp_path, title="a <i> & {{data}}")
    data = data_of(page)
    assert data["candidates"]["b-370"]["text"] == EVIL.replace("\u2028", "\ufffd")
    assert data["items"][0]["critique"]["teacher"] == EVIL.replace("\u2028", "\ufffd")
    assert page.count("<script") == TEMPLATE.read_text().count("<script") and "<b>bold" not in page
    assert "<h1>a &lt;i&gt; &amp; {{data}}</h1>" in page


def test_nothing_is_fetched(folder, tmp_path):
    class Attributes(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attributes):
            self.found = [*self.found, *((tag, name, value) for name, value in attributes)]

    parser = Attributes()
    parser.feed(page_of(load_items(folder), tmp_path))
    assert [value for _, name, value in parser.found if name in ("src", "href", "action")] == ["data:,"]
    assert "default-src 'none'" in str(parser.found)
    template = TEMPLATE.read_text()
    assert not re.search(r"https?://|url\(|@import|fetch\(|innerHTML|XMLHttp", template)


def test_counts(folder):
    assert count(load_items(folder)) == {
        "problems": 2, "candidates": 5, "distinct wrong answers": 3, "critiques": 5, "accepted": 3, "training": 1,
        "dropped": {"too short": 1, "quote not in candidate": 1},
    }  # fmt: skip


def test_no_items_huge_texts_and_strange_characters(folder, tmp_path):
    assert data_of(page_of([], tmp_path))["items"] == []
    write_jsonl(folder / "candidates.jsonl", [candidate("b-370", text="word " * 100_000 + "\x1b[2J 😀")])
    write_jsonl(folder / "critiques.jsonl", [critique("k1", "b-370", style="x\u200dy"), critique("k1", "b-370")])
    data = data_of(page_of(load_items(folder), tmp_path))
    assert len(data["candidates"]["b-370"]["text"]) > 500_000 and "\x1b" not in str(data)
    assert [row["id"] for row in data["items"]] == ["k1", "k1-2"]


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_page([], tmp_path, "a folder")
    assert not list(tmp_path.iterdir())


def test_a_lone_surrogate_does_not_stop_the_page(folder, tmp_path):
    (folder / "candidates.jsonl").write_text(json.dumps(candidate("b-370", text="\ud800 x")) + "\n")
    write_jsonl(folder / "critiques.jsonl", [])
    assert data_of(page_of(load_items(folder), tmp_path))["candidates"]["b-370"]["text"] == "\ufffd x"


class Shown(HTMLParser):
    """What a page shows: item ids of the index and of the article, marks, and all text outside scripts."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.articles, self.marks, self.text, self.tag = [], [], [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tag, attributes = tag, dict(attributes)
        if "data-item" in attributes:
            (self.articles if tag == "article" else self.rows).append(attributes["data-item"])

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, text):
        if self.tag not in ("script", "style"):
            self.text += text
        if self.tag == "mark":
            self.marks.append(text)


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed (apt-get install chromium)")
def test_a_browser_shows_what_the_address_says(folder, tmp_path):
    crafted = [critique("k6", "b-370", text=f'The "37 × 2 = 74" is incorrect. {EVIL}', style="crafted")]
    write_jsonl(folder / "critiques.jsonl", [*CRITIQUES, *crafted])
    page_of(load_items(folder), tmp_path)

    def browse(address, profile):
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / profile}", "--dump-dom", f"{(tmp_path / 'page.html').as_uri()}{address}",
        ]  # fmt: skip
        return Shown(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    dropped = browse("#show=dropped&item=k5", "one")
    assert dropped.rows == ["k4", "k5"] and dropped.articles == ["k5"] and "Item 2 of 2" in dropped.text
    assert "dropped: quote not in candidate" in dropped.text and dropped.marks == ["99 boxes"]
    crafted = browse("#style=crafted&reason=toString", "two")
    assert crafted.rows == crafted.articles == ["k6"] and "<b>bold</b> & " in crafted.text
    assert crafted.marks[:2] == [r"37 \times 2 = 74", "37 × 2 = 74"]
