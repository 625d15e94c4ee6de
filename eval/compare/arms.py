"""The arms of several runs: named, merged where they are the same, and cut to the items that all of them answered."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cft.errors import EvalError
from cft.recipe.blocks import Recipe
from cft.runs import Run
from eval.answering.answers import BASE, Row, load_arm, model_of, prompt_of
from eval.report.curve import load_curve, selection_of
from eval.report.findings import share_correct
from eval.statistics.seeds import seed_effect

SHORTEST_ID = 4  # digits of a fingerprint in a name
MOST_NAMED = 4  # arms or recipes that are named one by one
SETTINGS = ("max_new_tokens", "samples", "temperature", "top_k", "top_p", "device", "dtype")


@dataclass(frozen=True)
class NamedRun:
    """A run with its recipe and the name it goes by in a comparison."""

    run: Run
    recipe: Recipe
    label: str


@dataclass
class Scored:
    """An arm of one run, or of several where the very same answers stand in each."""

    arm: str  # as in its run
    runs: list[NamedRun]
    about: dict  # what arm.json holds
    rows: list[Row]
    name: str = ""  # in the comparison
    base: str | None = None  # name of the arm that it is compared with, itself for a base; None: there is none
    effect: dict | None = None  # of a mean over seeds: what `seed_effect` found


def named(runs: Sequence[tuple[Run, Recipe]]) -> list[NamedRun]:
    """The runs by the name of their recipe, with as much of their fingerprint as it takes where recipes repeat."""
    folders = [run.path.resolve() for run, _ in runs]
    found = []
    for folder, (run, recipe) in zip(folders, runs, strict=True):
        ids = [other.name for other, (_, r) in zip(folders, runs, strict=True) if r.name == recipe.name]
        label = recipe.name
        if len(ids) > len(set(ids)):  # copies of one run in different places
            label = str(run.path)
        elif len(ids) > 1:
            longest = max(map(len, ids))
            digits = next(n for n in range(SHORTEST_ID, longest + SHORTEST_ID) if len({i[:n] for i in ids}) == len(ids))
            label = f"{recipe.name}/{folder.name[:digits]}"
        found.append(NamedRun(run, recipe, label))
    return found


def load_scored(task: str, runs: Sequence[NamedRun]) -> list[Scored]:
    """All arms of a task, bases first; arms of the same fingerprint are one.

    Raises:
        EvalError: an arm is missing, unfinished or damaged.
    """
    merged: dict[object, Scored] = {}
    for one in runs:
        for arm in one.recipe.eval.arm_names:
            about, rows = load_arm(one.run.eval / task / arm, task, arm)
            about["selection"] = selection_of(load_curve(one.run.train), arm)
            same = about.get("fingerprint") or (one.label, arm)
            merged.setdefault(same, Scored(arm, [], about, rows)).runs.append(one)
    scored = sorted(merged.values(), key=lambda s: (s.arm != BASE, model_of(s.arm) != BASE))
    for one in scored:
        one.name = name_of(one, [other for other in scored if other.arm == one.arm], alone=len(runs) == 1)
    bases = [one for one in scored if one.arm == BASE]
    for one in scored:
        own = next((base for base in bases if one.runs[0] in base.runs), None)
        if own is None and len(bases) == 1 and model_identity(bases[0]) == model_identity(one):
            own = bases[0]
        one.base = own.name if own else None
    return scored


def name_of(one: Scored, alike: Sequence[Scored], *, alone: bool) -> str:
    """The name of an arm among those that are called alike in their runs; `alone`: there is one run only."""
    trained = model_of(one.arm) != BASE
    if alone or (len(alike) == 1 and not trained):
        return one.arm
    models = [str(settings_of(other).get("model", "")).rstrip("/").rpartition("/")[2] for other in alike]
    if not trained and all(models) and len(set(models)) == len(models):
        return f"{models[alike.index(one)]} {one.arm}"
    more = f" +{len(one.runs) - 1}" if len(one.runs) > 1 else ""
    return f"{one.runs[0].label}{more} {one.arm}"


def model_identity(scored: Scored) -> object:
    return settings_of(scored).get("identity") or settings_of(scored).get("model")


def settings_of(scored: Scored) -> dict:
    return scored.about.get("settings") or {}


def in_common(task: str, scored: Sequence[Scored]) -> str | None:
    """Keep only the items, known by question and gold answer, that all arms answered; in every arm under one doc_id.

    Returns:
        how many are left out, in words; None when none is.

    Raises:
        EvalError: no item is in all arms.
    """
    tables = [by_item(one.rows) for one in scored]
    common = [item for item in tables[0] if all(item in table for table in tables)]
    if not common:
        sizes = ", ".join(f"{one.name} {len(table)}" for one, table in zip(scored, tables, strict=True))
        raise EvalError(
            f"task {task!r}: no item, by its question and gold answer, was answered by all arms ({sizes}). Score the "
            "runs on the same items: the same eval.data and eval.limit."
        )
    ids = {item: tables[0][item][0]["doc_id"] for item in common}
    for one, table in zip(scored, tables, strict=True):
        one.rows = [row | {"doc_id": ids[item]} for item in common for row in table[item]]
    everything = len(set().union(*tables))
    if everything == len(common):
        return None
    return (
        f"{everything - len(common)} of {everything} items are left out: not all arms answered them with the same "
        f"gold answer. Compared are the {len(common)} in common."
    )


def by_item(rows: Sequence[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """The samples of each item by (question, gold, how many such items came before it)."""
    items: dict[int | str, list[Row]] = {}
    for row in rows:
        items.setdefault(row["doc_id"], []).append(row)
    seen: Counter[tuple[str, str]] = Counter()
    table = {}
    for samples in items.values():
        key = samples[0]["question"], samples[0]["gold"]
        table[*key, seen[key]] = samples
        seen[key] += 1
    return table


def differences(scored: Sequence[Scored]) -> list[str]:
    """What else than the adapter may move a score: settings, graders and prompts that are not those of all arms."""
    notes = []
    for key in SETTINGS:
        if told := differing({one.name: settings_of(one)[key] for one in scored if key in settings_of(one)}):
            notes.append(f"{key} differs: {told}. It may account for differences between these arms.")
    if told := differing({one.name: one.about.get("grader") for one in scored}):
        notes.append(f"graded by different versions of the grader: {told}. `cft eval` grades again.")
    if told := differing({one.name: settings_of(one).get("model") for one in scored}):
        notes.append(f"the models differ: {told}. Each arm is compared with the base of its own run.")
    leaders: dict[str, Scored] = {}
    others: dict[str, list[str]] = {}  # by leader's name
    for one in scored:
        first = leaders.setdefault(prompt_of(one.arm), one)
        ours, theirs = ({row["doc_id"]: row["prompt_sha256"] for row in side.rows} for side in (one, first))
        if ours != theirs:
            others.setdefault(first.name, []).append(one.name)
    notes += [
        f"{listed(names)} read other prompts than {first}: another chat template, or another version of the task."
        for first, names in others.items()
    ]
    notes += [
        f"{one.name} stands for {len(one.runs)} runs that have the same answers: "
        f"{', '.join(run.label for run in one.runs)}."
        for one in scored
        if len(one.runs) > 1 and model_of(one.arm) != BASE
    ]
    without = [one.name for one in scored if one.base is None]
    if 0 < len(without) < len(scored):
        notes.append(f"not compared, for want of a base of the same model: {', '.join(without)}.")
    return notes


def differing(values: dict[str, object]) -> str:
    """`448 (quickstart adapter), 512 (other adapter)`; empty when all are the same."""
    arms: dict[str, list[str]] = {}
    for name, value in values.items():
        arms.setdefault("not recorded" if value is None else str(value), []).append(name)
    return ", ".join(f"{value} ({listed(names)})" for value, names in arms.items()) if len(arms) > 1 else ""


def listed(names: Sequence[str]) -> str:
    """The names, or the first of them and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def seed_means(scored: Sequence[Scored], runs: Sequence[NamedRun]) -> list[Scored]:
    """An arm more for each trained arm of runs that differ in nothing but their seeds: the answers of all seeds.

    Its `effect` is the difference from the bases of the same runs, with seeds and questions both random. Where these
    bases are not one, as when answers are sampled, an arm of all their answers goes before it.
    """
    families: dict[str, list[NamedRun]] = {}
    for run in runs:
        recipe = {key: value for key, value in run.recipe.dump().items() if key != "seed"}
        families.setdefault(repr(recipe), []).append(run)
    found: list[Scored] = []
    for family in families.values():
        if len({run.recipe.seed for run in family}) < max(2, len(family)):  # the same seed twice: other files differ
            continue
        bases = members(scored, BASE, family)
        for arm in family[0].recipe.eval.arm_names:
            parts = members(scored, arm, family)
            if model_of(arm) == BASE or len(bases) < len(family) or len({one.name for one in parts}) < len(family):
                continue
            whose = f"{family[0].recipe.name} " if len(families) > 1 else ""
            label = f"{whose}mean of {len(family)} seeds"
            base = bases[0].name
            if len({one.name for one in bases}) > 1:
                base = f"{label} {BASE}"
                if all(one.name != base for one in found):
                    found.append(pooled(bases, base, base))
            mean = pooled(parts, f"{label} {arm}", base)
            mean.effect = effect_over_seeds(bases, parts)
            found.append(mean)
    return found


def effect_over_seeds(bases: Sequence[Scored], parts: Sequence[Scored]) -> dict:
    """What `seed_effect` finds for one arm of several runs, each beside its base."""
    shares = [(share_correct(base.rows), share_correct(arm.rows)) for base, arm in zip(bases, parts, strict=True)]
    return seed_effect([[after[doc] - before[doc] for doc in before] for before, after in shares])


def members(scored: Sequence[Scored], arm: str, family: Sequence[NamedRun]) -> list[Scored]:
    """The arm of each of these runs, in their order; runs without it are left out."""
    return [one for run in family for one in scored if one.arm == arm and run in one.runs]


def pooled(parts: Sequence[Scored], name: str, base: str) -> Scored:
    """One arm with the answers of all: the samples of the first, of the second ..."""
    rows, taken = [], 0
    for part in parts:
        for row in part.rows:
            kept = {key: value for key, value in row.items() if key != "same_as"}  # it counts its own arm's samples
            rows.append(kept | {"sample": taken + row.get("sample", 0)})
        taken += max(row.get("sample", 0) for row in part.rows) + 1
    order = {row["doc_id"]: place for place, row in reversed(list(enumerate(parts[0].rows)))}
    rows.sort(key=lambda row: (order[row["doc_id"]], row["sample"]))
    told = [part.about.get("seconds") for part in parts]
    about = {
        "seconds": None if None in told else sum(told),
        "selection": parts[0].about["selection"],
        "settings": {k: v for k, v in settings_of(parts[0]).items() if all(settings_of(p).get(k) == v for p in parts)},
    }
    runs = [run for part in parts for run in part.runs]
    return replace(parts[0], runs=runs, about=about, rows=rows, name=name, base=base)
