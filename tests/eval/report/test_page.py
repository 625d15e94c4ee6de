"""report.html: whole, harmless, fetches nothing, and works in a browser."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from eval.report.page import items
from eval.report.page.page import page as html
from eval.report.report import build_report
from tests.support.reports import make_rows

EVIL = """</script><script>document.title="x"</script><img src=x onerror=a()> & "q" <!-- {{data}} \u2028 \x1b \ud800"""
BASE = ["correct"] * 4 + ["wrong"] * 4 + ["no_answer"] * 2 + ["truncated"] * 2
ADAPTER = ["correct"] * 3 + ["wrong"] + ["correct"] * 5 + ["no_answer", "truncated", "wrong"]  # gains 4-8, loses 3
needs_browser = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")


def answers(base: str = "", adapter: str = "", outcomes=(BASE, ADAPTER)) -> dict:
    """Items with subject and level in two arms, all answered in the words given."""
    arms = {}
    for arm, words, graded in zip(("base", "adapter"), (base, adapter), outcomes, strict=True):
        rows = make_rows(graded, arm, responses=[words] * len(graded) if words else None)
        for row in rows:
            row |= {"subject": "Algebra" if row["doc_id"] % 2 else "Geometry", "level": str(1 + row["doc_id"] % 3)}
        arms[arm] = ({"seconds": 1.0, "peak_memory_mb": 100.0, "fingerprint": f"print-of-{arm}"}, rows)
    return {"sums": arms}


def sampled(count: int = 4) -> dict:
    """Three items, `count` samples each; the adapter's first sample of item 0 is wrong, the others are right."""
    found = answers(outcomes=(["wrong"] * 3, ["correct"] * 3))["sums"]
    for arm, (_, rows) in found.items():
        rows[:] = [
            row | {"sample": s, "response": f"{arm} item {row['doc_id']} sample {s}", "answer": "1", "same_as": 0}
            for row in rows
            for s in range(count)
        ]
    found["adapter"][1][0]["outcome"] = "wrong"
    return {"sums": found}


def page_of(given: dict, name: str = "demo", **environment) -> str:
    return html(build_report(name, given, environment), given)


class Shown(HTMLParser):
    """Texts and attributes of a page outside of its scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.tag, self.text, self.attributes = "", "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, text):
        if self.tag not in ("script", "style"):
            self.text += text

    def all(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


def data_of(page: str) -> dict:
    tag, text = re.search(r'<script type="[\w/]+" id="data"([^>]*)>(.*?)</script>', page, re.DOTALL).groups()
    return json.loads(zlib.decompress(base64.b64decode(text)) if "data-packed" in tag else text)


def test_every_answer_is_in_the_page_and_cannot_leave_its_element():
    page = page_of(answers(base=EVIL), name=EVIL, command=EVIL, recipe_yaml=EVIL)
    shown = re.sub("[\x1b\u2028\ud800]", "\ufffd", EVIL)
    assert data_of(page)["tasks"][0]["answers"][0][0][0][0] == shown
    plain = page_of(answers())
    for tag in ("<script", "</script", "<img", "<!--"):
        assert page.count(tag) == plain.count(tag)
    assert shown in Shown(page).text  # as text: the name, the command and the recipe


def test_nothing_is_fetched():
    shown = Shown(page_of(answers()))
    addresses = [value for name in ("src", "href", "xlink:href", "action", "srcset") for value in shown.all(name)]
    assert addresses and all(re.match(r"#[\w-]+$|data:,$", address) for address in addresses)
    assert any("default-src 'none'" in value for value in shown.all("content"))
    for file in ("page.html", "page.css", "page.js"):
        source = Path(items.__file__).with_name(file).read_text(encoding="utf-8")
        assert not re.search(r"https?://|@import|fetch\(|innerHTML|XMLHttp|import\(", source)


def test_the_answer_the_tables_and_what_is_needed_to_run_it_again():
    shown = Shown(page_of(answers(), command="cft run demo seed=3", recipe_yaml="name: demo\nseed: 3\n", seed=3))
    first = shown.text.index("from 33.3 % (base) to 66.7 % (adapter)")
    assert first < shown.text.index("Accuracy and outcomes of every arm")
    for words in ("Accuracy by subject and level", "Algebra (n = 6)", "holds a complete box", "cft run demo seed=3"):
        assert words in shown.text
    assert "name: demo\nseed: 3" in shown.text and "print-of-adapter" in shown.text


def test_figures_and_tables_can_be_read_without_seeing():
    page = page_of(answers())
    shown = Shown(page)
    assert page.count("<table") == page.count("<caption") > 4
    assert page.count("<svg") == len(
        [label for label in shown.all("aria-label") if "the table has the numbers" in label]
    )
    assert len(set(shown.all("id"))) == len(shown.all("id"))


def test_many_answers_are_packed_and_long_ones_shortened(monkeypatch):
    given = answers(base="so " * 40_000 + "\\boxed{1}")
    page = page_of(given)
    data = data_of(page)
    text = data["tasks"][0]["answers"][0][0][0][0]
    assert data["length"] == 20_000 and len(text) < 20_100 and text.endswith("\\boxed{1}") and "left out" in text
    monkeypatch.setattr(items, "PACK_FROM", 1000)
    packed = page_of(given)
    assert data_of(packed) == data and len(packed) < len(page)


def test_samples_are_dropped_only_when_even_short_answers_are_too_many(monkeypatch):
    assert data_of(page_of(sampled()))["samples"] is None
    monkeypatch.setattr(items, "MOST", 300)  # 24 answers of about 21 characters
    data = data_of(page_of(sampled()))
    assert data["samples"] == 2 and {len(given) for arm in data["tasks"][0]["answers"] for given in arm} == {2}


def browse(folder, page: str, address: str = "", then: str = "", width: int = 1280) -> tuple[dict, Shown]:
    """Open the page in a frame of that width, run `then` in it, and return what it returned and what is shown."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    (folder / "frame.html").write_text(
        f"""<body><iframe src="page.html{address}" style="width:{width}px;height:900px"></iframe><script>
        const frame = document.querySelector("iframe");
        const wait = setInterval(() => {{
          const inside = frame.contentWindow;
          if (!inside || inside.document.documentElement?.dataset.ready !== "true") return;
          clearInterval(wait);
          const press = (key) => inside.document.body.dispatchEvent(
            new inside.KeyboardEvent("keydown", {{ key, bubbles: true }}));
          const click = (selector) => inside.document.querySelector(selector).click();
          const choose = (name, value) => {{
            const field = inside.document.forms[0].elements[name];
            field.value = value;
            field.dispatchEvent(new inside.Event(name === "search" ? "input" : "change"));
          }};
          const rows = () => [...inside.document.querySelectorAll("#list li")].map((row) => row.dataset.item);
          const item = () => inside.document.querySelector("#item article")?.dataset.item;
          const found = {{}};
          {then}
          found.rows = rows(); found.item = item();
          found.hash = inside.location.hash; found.title = inside.document.title;
          found.fetched = inside.performance.getEntriesByType("resource").map((entry) => entry.name);
          found.wide = inside.document.documentElement.scrollWidth;
          const result = document.createElement("pre");
          result.id = "found"; result.textContent = JSON.stringify(found);
          const shown = document.createElement("div");
          shown.innerHTML = inside.document.getElementById("answers").innerHTML;
          document.body.replaceChildren(result, shown);
        }}, 50);
        </script>""",
        encoding="utf-8",
    )
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--window-size=1400,1000",
        "--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
        (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found, f"the page did not get ready: {dom[-2000:]}"
    return json.loads(Shown(found[1]).text), Shown(dom)


@needs_browser
def test_filters_keys_and_address_work_in_a_browser(tmp_path, monkeypatch):
    monkeypatch.setattr(items, "PACK_FROM", 1000)  # the page unpacks its data in the browser
    found, _ = browse(tmp_path, page_of(answers()), then="""
      found.all = rows();
      for (const show of ["gained", "lost", "failed", "truncated", "nobox"]) {
        click(`[data-show=${show}]`); found[show] = rows();
      }
      click("#reset"); choose("subject", "Geometry"); choose("level", "1"); found.subject = rows();
      click("#reset"); choose("search", "ADAPTER answers   item 11"); found.searched = rows();
      click("#reset"); click("#list li button");
      press("ArrowRight"); press("j"); found.second = item(); press("k"); press("ArrowLeft");
      found.first = item(); press("ArrowLeft"); found.still = item(); click("#next"); found.clicked = item();
      choose("a", "adapter"); choose("b", "base"); click("[data-show=gained]");
    """)  # fmt: skip
    assert found["all"] == [str(i) for i in range(12)]
    assert found["gained"] == ["4", "5", "6", "7", "8"] and found["lost"] == ["3"]
    assert found["failed"] == ["9", "10", "11"] and found["truncated"] == ["10", "11"] and found["nobox"] == ["8", "9"]
    assert found["subject"] == ["0", "6"] and found["searched"] == ["11"]
    assert (found["first"], found["second"], found["still"], found["clicked"]) == ("0", "2", "0", "1")
    assert found["rows"] == ["3"]  # with the arms exchanged, what was lost is gained
    assert "a=adapter" in found["hash"] and "show=gained" in found["hash"] and "item=3" in found["hash"]
    assert found["fetched"] == []


@needs_browser
def test_an_address_opens_its_item_and_hostile_texts_stay_texts(tmp_path):
    evil = page_of(answers(base=EVIL, adapter="long" * 400), name="demo")
    found, shown = browse(tmp_path, evil, "#item=8&show=gained&level=3", width=390)
    assert found["rows"] == ["5", "8"] and found["item"] == "8" and found["title"] == "demo · report"
    assert '<img src=x onerror=a()> & "q" <!-- {{data}}' in shown.text
    assert "no box" in shown.text and "✓ correct" in shown.text
    assert found["fetched"] == [] and found["wide"] <= 390  # a phone does not scroll sideways


@needs_browser
def test_samples_can_be_leafed_through(tmp_path):
    found, shown = browse(tmp_path, page_of(sampled()), "#item=0", then="""
      click("[data-arm=adapter] .dots button:nth-child(3)");
      found.third = inside.document.forms[0].elements.sample.value;
    """)  # fmt: skip
    assert found["third"] == "2" and "adapter item 0 sample 2" in shown.text and "base item 0 sample 2" in shown.text
    assert "sample 1: wrong" in shown.all("aria-label") and "sample 2: correct" in shown.all("aria-label")
