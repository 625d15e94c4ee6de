"""What a report finds beside accuracy and its change: controls, groups of questions, training, published scores."""

import re
from collections.abc import Sequence

from cft.words import tidy
from eval.answering.answers import Row, TaskAnswers, model_of, parts_of, prompt_of
from eval.baselines.match import beside, ranges
from eval.baselines.schema import Baseline, Baselines, Protocol, load_baselines
from eval.prompts import OWN_PROMPT, PROMPTS
from eval.statistics import statistics

GROUPS = ("subject", "level")  # keys of rows whose text names a group of questions
MOST_OTHERS = 40  # published scores of other models that are told; of our model all are


def share_correct(rows: Sequence[Row]) -> dict[int | str, float]:
    """By doc_id, the share of its samples that are correct."""
    samples: dict[int | str, list[bool]] = {}
    for row in rows:
        samples.setdefault(row["doc_id"], []).append(row["outcome"] == "correct")
    return {doc: sum(correct) / len(correct) for doc, correct in samples.items()}


def controls(answers: TaskAnswers) -> list[dict]:
    """Trained arms against what a prompt or an elicitor alone does: `statistics.compare`, with `arm` and `against`.

    A trained arm with another prompt or an elicitor is compared with the base under the same ones; one that answers
    plainly with the best of those of the base. That one was picked by its test score, which favours the control.
    """
    bases = {arm: rows for arm, (_, rows) in answers.items() if model_of(arm) == "base" and any(parts_of(arm)[1:])}
    if not bases:
        return []
    best = max(bases, key=lambda arm: sum(share_correct(bases[arm]).values()))
    alike = {parts_of(arm)[1:]: arm for arm in bases}
    found = []
    for arm, (_, rows) in answers.items():
        if model_of(arm) in ("adapter", "merged"):
            control = alike.get(parts_of(arm)[1:]) if any(parts_of(arm)[1:]) else best
            if control:
                found.append({"arm": arm, "against": control, **statistics.compare(bases[control], rows)})
    return found


def groups(answers: TaskAnswers, against: str) -> dict[str, list[dict]]:
    """Accuracy by subject and by level, for the keys that the rows have.

    Returns:
        {key: [{"group", "n", "arms": {arm: {"accuracy", "ci"}}}, …]}; arms that were compared with `against` have
        `difference`, `difference_ci`, `p` and `p_holm` (over the groups of that arm) too.
    """
    found = {}
    first = next(iter(answers.values()))[1]
    reference = against if against in answers else next(iter(answers))
    for key in GROUPS:
        if not any(row.get(key) for row in first):
            continue
        table: dict[str, dict] = {}
        for arm, (_, rows) in answers.items():
            for entry in statistics.by_group(answers[reference][1], rows, key):
                line = table.setdefault(entry["group"], {"group": tidy(entry["group"]), "n": entry["n"], "arms": {}})
                line["arms"][arm] = dict(entry["arm"])
                if arm != reference and reference == against:
                    line["arms"][arm] |= {"difference_ci": entry["ci"]}
                    line["arms"][arm] |= {key: entry[key] for key in ("difference", "p", "p_holm")}
        found[key] = list(table.values())
    return found


def steps(arms: Sequence[dict], adapter_step: int | None) -> list[dict]:
    """Accuracy against training: `{step, arm, accuracy, ci}` in order; empty unless some step-N was scored.

    Args:
        arms: of the report.
        adapter_step: of the training after which the adapter was taken; None leaves the adapter out.
    """
    places = {"base": 0, "adapter": adapter_step}
    for arm in arms:
        if number := re.fullmatch(r"step-(\d+)", arm["name"]):
            places[arm["name"]] = int(number[1])
    scored = [arm for arm in arms if places.get(arm["name"]) is not None] if len(places) > 2 else []
    found = [{"step": places[a["name"]], "arm": a["name"], "accuracy": a["accuracy"], "ci": a["ci"]} for a in scored]
    return sorted(found, key=lambda point: point["step"])


def our_protocol(about: dict, arm: str, book: Baselines) -> Protocol:
    """How we measured an arm, from its arm.json; None stands for what that does not tell."""
    settings = about.get("settings", {})
    block = settings.get("block") or {}
    model = block.get("id") or settings.get("model")
    precision = block.get("dtype") or str(settings.get("dtype") or "").removeprefix("torch.") or None
    identity = settings.get("identity", settings.get("model"))
    if precision and isinstance(identity, dict) and identity.get("kind") == "wheels":
        precision = f"4-bit, de-quantised to {precision}"  # see cft/models/models.yaml: these are not the hub's weights
    return Protocol(
        model=book.model_name(model) if isinstance(model, str) else None,
        prompt=PROMPTS[prompt_of(arm)].published if prompt_of(arm) else OWN_PROMPT,
        temperature=settings.get("temperature"),
        top_p=settings.get("top_p") if settings.get("temperature") else None,
        samples=settings.get("samples", 1),
        max_tokens=settings.get("max_new_tokens"),
        grader="cft",
        precision=precision,
        selection=about.get("selection", "none"),
    )


def published(task: str, answers: TaskAnswers) -> dict | None:
    """Published scores of the task's benchmark beside ours; None when none is listed.

    Arms with an elicitor are left out: published protocols have none.

    Returns:
        benchmark, prompts {id: words}, ours {arm: protocol}, scores, left_out (how many scores of other models),
        and range: {model, low, high} of what is published for our untrained model, None unless there are two scores at
        least. A score holds model, method, data, value and spread in per cent, protocol, source, checked, note,
        comparable_with [arms], reasons, and reasons_against: the arm whose protocol is nearest, to which they belong.
    """
    book = load_baselines()
    benchmark = task.removeprefix("cft_")
    if benchmark not in book.benchmarks or not book.of(benchmark):
        return None
    ours = {arm: our_protocol(about, arm, book) for arm, (about, _) in answers.items() if not parts_of(arm)[2]}
    judged: dict[Baseline, list[tuple[str, list[str]]]] = {}  # arm and reasons
    for arm, protocol in ours.items():
        for row, reasons in beside(book, benchmark, protocol):
            judged.setdefault(row, []).append((arm, reasons))
    scores = []
    for row, judgements in judged.items():
        nearest, reasons = min(judgements, key=lambda judgement: len(judgement[1]))
        kept = ("model", "method", "data", "value", "spread", "source", "checked", "note")
        scores.append(
            {
                **{name: getattr(row, name) for name in kept},
                "protocol": row.protocol.model_dump(),
                "comparable_with": [arm for arm, why in judgements if not why],
                "reasons": reasons,
                "reasons_against": nearest,
            }
        )
    models = {protocol.model for protocol in ours.values()}
    scores.sort(key=lambda s: (s["model"] not in models, len(s["reasons"]), -s["value"]))
    most = sum(score["model"] in models for score in scores) + MOST_OTHERS
    spans = [(model, rows) for model, rows in ranges(book, benchmark).items() if model in models]
    return {
        "benchmark": benchmark,
        "prompts": dict(book.prompts),
        "ours": {arm: protocol.model_dump() for arm, protocol in ours.items()},
        "scores": scores[:most],
        "left_out": len(scores[most:]),
        "range": next(({"model": m, "low": rows[0].value, "high": rows[-1].value} for m, rows in spans), None),
    }
