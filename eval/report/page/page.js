"use strict";
const byId = (id) => document.getElementById(id);
const form = document.forms[0];
const CHOICES = ["task", "a", "b", "sample", "subject", "level"];
const SHOWS = [["", "All"], ["gained", "Gained"], ["lost", "Lost"], ["failed", "Both failed"], ["truncated", "Truncated"], ["nobox", "No box"]];
const MARKS = { correct: ["✓", "good"], wrong: ["✕", "bad"], no_answer: ["□", "odd"], truncated: ["…", "odd"], ungradable: ["?", "odd"] };
const state = { item: "", task: "", a: "", b: "", sample: "", subject: "", level: "", show: "", search: "" };
let data, task, shown = [];

/** An element with texts and elements inside. Texts are never read as HTML. */
function make(tag, attributes, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside.filter((part) => part !== null && part !== ""));
  return element;
}

/** The data: JSON as it stands, or compressed; nothing is asked of a server. */
async function unpack() {
  const element = byId("data");
  if (!element.dataset.packed) return JSON.parse(element.textContent);
  const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(element.dataset.packed));
  return JSON.parse(await new Response(stream).text());
}

/** The samples of an item by an arm: {text, outcome, tokens, limit, answer}. */
const given = (item, arm) => (arm ? task.answers[task.arms.indexOf(arm)][item.at] : [])
  .map(([text, outcome, tokens, limit, answer]) => ({ text, outcome: data.outcomes[outcome], tokens, limit, answer }));
const chosen = (item, arm) => { const all = given(item, arm); return all[Math.min(Number(state.sample) || 0, all.length - 1)]; };
const share = (item, arm) => { const all = given(item, arm); return all.filter((one) => one.outcome === "correct").length / all.length; };
const folded = (text) => text.toLowerCase().split(/\s+/).filter(Boolean).join(" ");

/** Whether an item belongs to one of SHOWS. Gained and lost go by the share of correct samples, the rest by the samples shown. */
function isOf(item, show) {
  const pair = [state.a, state.b].filter(Boolean);
  if (show === "gained") return pair.length === 2 && share(item, state.b) > share(item, state.a);
  if (show === "lost") return pair.length === 2 && share(item, state.b) < share(item, state.a);
  if (show === "failed") return pair.every((arm) => share(item, arm) === 0);
  const outcome = { truncated: "truncated", nobox: "no_answer" }[show];
  return !outcome || pair.some((arm) => chosen(item, arm).outcome === outcome);
}

function fits(item) {
  if (state.subject && item.subject !== state.subject) return false;
  if (state.level && item.level !== state.level) return false;
  if (!state.search) return true;
  const words = folded(state.search);
  return folded([item.id, item.question, item.gold].join(" ")).includes(words)
    || [state.a, state.b].filter(Boolean).some((arm) => folded(chosen(item, arm).text).includes(words));
}

/** A text in which its last box is marked: what the grader reads. */
function marked(text) {
  const element = make("div", { class: "text" }), from = text.lastIndexOf("\\boxed{");
  let depth = 0, to = from + 6;
  for (; from >= 0 && to < text.length; to++) {
    if (text[to] === "{") depth++;
    if (text[to] === "}" && --depth === 0) break;
  }
  if (from < 0 || to >= text.length) element.append(text);
  else element.append(text.slice(0, from), make("mark", {}, text.slice(from, to + 1)), text.slice(to + 1));
  return element;
}

const chip = (text, kind) => make("span", { class: `chip ${kind}` }, text);
const word = (outcome) => ({ no_answer: "no box" }[outcome] || outcome);

function questionCard(item) {
  const about = [item.subject, item.level && `level ${item.level.replace(/^level /i, "")}`].filter(Boolean).join(" · ");
  return make("section", { class: "card question" }, make("h3", {}, `Item ${item.id}`),
    make("div", { class: "chips" }, chip(`gold ${item.gold}`, "good"), make("span", { class: "soft" }, about)),
    make("div", { class: "text" }, item.question));
}

function answerCard(item, arm) {
  const all = given(item, arm), one = chosen(item, arm), [sign, kind] = MARKS[one.outcome];
  const card = make("section", { class: "card", "data-arm": arm }, make("h4", {}, arm),
    make("div", { class: "chips" }, chip(`${sign} ${word(one.outcome)}`, kind),
      one.answer === null ? "" : chip(`answer ${one.answer}`, ""),
      make("span", { class: "soft" }, `${one.tokens} tokens${one.limit ? ", hit the limit" : ""}`)));
  if (all.length > 1) card.append(make("div", { class: "dots", role: "group", "aria-label": "Samples" }, ...all.map((other, at) => {
    const button = make("button", { type: "button", class: MARKS[other.outcome][1], "aria-label": `sample ${at + 1}: ${word(other.outcome)}`, "aria-pressed": other === one }, MARKS[other.outcome][0]);
    button.addEventListener("click", () => change("sample", String(at)));
    return button;
  })));
  card.append(marked(one.text));
  return card;
}

function row(item) {
  const marks = [state.a, state.b].filter(Boolean).map((arm) => [arm, chosen(item, arm).outcome]);
  const button = make("button", { type: "button", title: marks.map(([arm, outcome]) => `${arm}: ${word(outcome)}`).join(", ") },
    make("span", {}, item.id),
    make("span", { class: "marks", role: "img", "aria-label": marks.map(([, outcome]) => word(outcome)).join(", ") },
      ...marks.map(([, outcome]) => make("span", { class: MARKS[outcome][1] }, MARKS[outcome][0]))),
    make("span", {}, item.gold));
  button.addEventListener("click", () => go(item.id));
  item.row = button;
  return make("li", { "data-item": item.id }, button);
}

function showItem() {
  const at = shown.findIndex((item) => item.id === state.item), item = shown[at];
  for (const old of document.querySelectorAll("#list [aria-current]")) old.removeAttribute("aria-current");
  byId("place").textContent = item ? `${at + 1} of ${shown.length}` : "No items";
  byId("previous").disabled = at <= 0;
  byId("next").disabled = at >= shown.length - 1;
  if (!item) return byId("item").replaceChildren(make("p", { class: "card" }, "No item fits these filters."));
  const arms = [state.a, state.b].filter(Boolean);
  byId("item").replaceChildren(make("article", { "data-item": item.id }, questionCard(item),
    make("div", { class: arms.length > 1 ? "pair" : "pair alone" }, ...arms.map((arm) => answerCard(item, arm)))));
  item.row.setAttribute("aria-current", "true");
  const list = document.querySelector("#list ol"), place = item.row.parentElement, above = place.offsetTop - list.offsetTop;
  if (above < list.scrollTop || above + place.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = above - list.clientHeight / 3;
}

/** Show what `state` says; `keep` writes it into the address. */
function show(keep) {
  const fitting = task.items.filter(fits);
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", button.dataset.show === state.show);
    button.querySelector("b").textContent = fitting.filter((item) => isOf(item, button.dataset.show)).length;
  }
  shown = fitting.filter((item) => isOf(item, state.show));
  if (!shown.some((item) => item.id === state.item)) state.item = shown.length ? shown[0].id : "";
  for (const name of [...CHOICES, "search"]) if (form.elements[name].value !== state[name]) form.elements[name].value = state[name];
  byId("list").querySelector("ol").replaceChildren(...shown.map(row));
  byId("list").querySelector("summary").textContent = `Items (${shown.length} of ${task.items.length})`;
  showItem();
  if (keep) address();
}

/** Only what differs from what the page shows of itself, so that an address stays short. */
function address() {
  const plain = defaults();
  const kept = Object.entries(state).filter(([name, value]) => value !== (plain[name] || "") && (name !== "item" || value));
  history.replaceState(null, "", `#${new URLSearchParams(kept.length ? kept : { item: state.item })}`);
}

function defaults() {
  const a = task.against || task.arms[0], others = task.arms.filter((arm) => arm !== a);
  return { task: data.tasks[0].name, a, b: others.find((arm) => /(^| )adapter$/.test(arm)) || others[0] || "", sample: "0" };
}

function go(id) {
  state.item = id;
  showItem();
  address();
  const top = byId("item").getBoundingClientRect().top;
  if (top < 0 || top > innerHeight / 2) byId("item").scrollIntoView();
}

function step(by) {
  const at = shown.findIndex((item) => item.id === state.item) + by;
  if (shown[at]) go(shown[at].id);
}

function change(name, value) {
  state[name] = value;
  if (name === "task") { for (const other of ["a", "b", "sample", "subject", "level", "item"]) state[other] = ""; fill(); }
  show(true);
}

/** Choices of the task that `state` names; what it does not have becomes what the page shows of itself. */
function fill() {
  task = data.tasks.find((one) => one.name === state.task) || data.tasks[0];
  const most = Math.max(...task.answers.map((arm) => arm[0].length));
  const natural = (one, other) => one.localeCompare(other, "en", { numeric: true });
  const values = (key) => [...new Set(task.items.map((item) => item[key]).filter(Boolean))].sort(natural);
  const options = {
    task: data.tasks.map((one) => [one.name, one.name]), a: task.arms.map((arm) => [arm, arm]),
    b: task.arms.length > 1 ? task.arms.map((arm) => [arm, arm]) : [],
    sample: [...Array(most).keys()].map((at) => [String(at), String(at + 1)]),
    subject: [["", "any"], ...values("subject").map((value) => [value, value])],
    level: [["", "any"], ...values("level").map((value) => [value, value])],
  };
  const plain = defaults();
  for (const name of CHOICES) {
    form.elements[name].replaceChildren(...options[name].map(([value, label]) => make("option", { value }, label)));
    document.querySelector(`[data-for=${name}]`).hidden = options[name].length < 2;
    if (!options[name].some(([value]) => value === state[name])) state[name] = plain[name] || "";
  }
  for (const button of document.querySelectorAll("[data-show]")) button.hidden = task.arms.length < 2 && ["gained", "lost", "failed"].includes(button.dataset.show);
}

function readAddress() {
  const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const name of Object.keys(state)) state[name] = given.get(name) || "";
  if (!SHOWS.some(([value]) => value === state.show)) state.show = "";
  fill();
  show(false);
}

function listen() {
  for (const [value, label] of SHOWS) {
    const button = make("button", { type: "button", "data-show": value }, label, make("b", {}));
    button.addEventListener("click", () => change("show", value));
    byId("show").append(button);
  }
  for (const name of CHOICES) form.elements[name].addEventListener("change", (event) => change(name, event.target.value));
  form.elements.search.addEventListener("input", (event) => change("search", event.target.value));
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("reset").addEventListener("click", () => { for (const name of ["show", "subject", "level", "search"]) state[name] = ""; show(true); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
    if (event.key === "ArrowLeft" || event.key === "k") step(-1);
    else if (event.key === "ArrowRight" || event.key === "j") step(1);
    else if (event.key === "/") { event.preventDefault(); form.elements.search.focus(); }
  });
  const wide = matchMedia("(min-width: 50rem)"), unfold = () => { byId("list").open = wide.matches; };
  wide.addEventListener("change", unfold);
  unfold();
  addEventListener("hashchange", () => { if (location.hash.includes("=")) { readAddress(); byId("answers").scrollIntoView(); } });
}

/** On paper everything is open; on the screen it is as it was. */
function printing() {
  let closed = [];
  addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("details:not([open])")]; for (const part of closed) part.open = true; });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
}

async function start() {
  printing();
  byId("state").textContent = "Unpacking the answers …";
  try {
    data = await unpack();
  } catch (error) {
    byId("state").textContent = `The answers cannot be unpacked here (${error.message}). A newer browser can; answers.jsonl of each arm holds the same.`;
    return;
  }
  for (const one of data.tasks) one.items.forEach((item, at) => { item.at = at; });
  byId("state").textContent = [
    data.length && `Answers longer than ${data.length.toLocaleString("en")} characters are shortened in the middle.`,
    data.samples && `Only the first ${data.samples} samples of each item are here.`,
    (data.length || data.samples) && "answers.jsonl of each arm holds everything.",
  ].filter(Boolean).join(" ");
  listen();
  form.hidden = document.querySelector(".browser").hidden = false;
  readAddress();
  if (location.hash.includes("=")) byId("answers").scrollIntoView();
  document.documentElement.dataset.ready = "true";
}
start();
