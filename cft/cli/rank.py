"""`cft problems rank`: samples a pool of problems from students and prints the ranking."""

from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from cft.recipe.blocks import EndpointBlock, ModelBlock, StudentBlock
from cft.recipe.faults import Schema, recipe_error
from data_builders.asking.backends import Asking
from data_builders.ranking import load_pool, rank
from data_builders.students import ask, candidates_of, plan_solutions


def rank_pool(
    pool: str,
    models: list[str],
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    base_url: str | None,
    api_key_env: str | None,
    limit: int | None,
    batch_size: int,
    seed: int,
    ledgers: Path,
    console: Console,
    max_cost: float | None = None,
) -> list[dict]:
    """The ranking of `data_builders.ranking.rank`. Answers that are in the ledgers are not asked for again.

    Raises:
        DataError, ModelError, RecipeError: for a pool, server or model that cannot be used.
    """  # fmt: skip
    problems = load_pool(pool)[:limit]
    endpoint = _endpoint(base_url, api_key_env) if base_url else None
    candidates = []
    asking = Asking(ModelBlock(id=models[0]), ledgers, console, max_cost)
    with asking.shown():
        for model in models:
            student = StudentBlock(
                model=model, endpoint=endpoint, samples=samples, temperatures=[temperature],
                max_new_tokens=max_new_tokens, batch_size=batch_size,
            )  # fmt: skip
            calls = plan_solutions(problems, student, model, seed)
            asking.on_answer(model, len(calls), None)
            rows = ask(calls, asking.backend(student), ledgers, lambda row: asking.on_answer(row["model"], 0, row))
            candidates += candidates_of(problems, calls, rows)
    return rank(problems, candidates)


def _endpoint(base_url: str, api_key_env: str | None) -> EndpointBlock:
    try:
        return EndpointBlock(base_url=base_url, api_key_env=api_key_env)
    except ValidationError as error:
        raise recipe_error("cft problems rank", Schema({}, {}).faults(error)) from None


def print_ranking(ranked: list[dict], console: Console) -> None:
    """Best first: what the score is made of, and the pass rate of each student."""
    students = list(ranked[0]["students"])
    table = Table("problem", "score", "pass rate", "wrong answers", "entropy, bits", "cut off", "tokens",
                  *(students if len(students) > 1 else ()), box=None, pad_edge=False)  # fmt: skip
    for row in ranked:
        cells = [row["problem"], f"{row['score']:.2f}", f"{row['pass_rate']:.0%}", str(row["wrong_answers"]),
                 f"{row['entropy']:.1f}", f"{row['truncated']:.0%}", str(row["mean_tokens"] or "unknown")]  # fmt: skip
        table.add_row(*cells, *(f"{row['students'][s]:.0%}" for s in students if len(students) > 1))
    console.print(table)
    samples = ranked[0]["samples"]
    console.print(
        f"{samples} samples a problem. score = 4p(1-p) x spread of the wrong answers x share that comes to an end; "
        "1 is best.",
        highlight=False,
    )
