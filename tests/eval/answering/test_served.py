"""Scoring through an OpenAI-compatible server: what is asked, that a stop loses nothing, and what servers do wrong."""

from pathlib import Path

import pytest
from rich.console import Console

from cft.errors import CFTError, RecipeError
from cft.pipeline import eval_stage
from cft.recipe.blocks import ModelBlock, Recipe
from cft.recipe.load import load_recipe
from cft.runs import open_run
from eval.answering.run import evaluate
from tests.support.evaluating import TASK, rows
from tests.support.faulty_server import FaultyServer


def recipe(url: str, **block) -> Recipe:
    served = {"base": "base-model", "adapter": "lora"}
    scored = {"tasks": [TASK], "arms": ["base"], "limit": 3, "max_new_tokens": 64, "served": served}
    scored |= {"endpoint": {"base_url": url, "concurrency": 2}} | block
    return Recipe.model_validate(
        {
            "name": "served",
            "model": {"id": "any-model"},
            "data": {"builder": "demonstrations", "problems": ["bakery"]},
            "train": {"method": "sft"},
            "eval": scored,
        }
    )


def score(found: Recipe, folder: Path) -> dict:
    return evaluate(found, adapter=None, folder=folder, console=Console(quiet=True))


@pytest.fixture
def serve(tmp_path):
    """Starts servers; all are stopped at the end of the test."""
    running = []

    def start(**options) -> FaultyServer:
        running.append(FaultyServer(tmp_path / f"log-{len(running)}.jsonl", **options).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


def asked(server: FaultyServer) -> list[dict]:
    return [row for row in server.requests() if row["event"] == "answered"]


def test_every_item_is_asked_as_messages_without_a_tokenizer_of_the_model(serve, tmp_path):
    server = serve()
    found = score(recipe(server.url, arms=["base", "base@system", "adapter"]), tmp_path / "eval")
    calls = asked(server)
    assert {call["path"] for call in calls} == {"POST /v1/chat/completions"} and len(calls) == 9
    assert {call["model"] for call in calls} == {"base-model", "lora"}
    by_roles = {tuple(message["role"] for message in call["messages"]) for call in calls}
    assert by_roles == {("user",), ("system", "user")}
    graded = rows(tmp_path / "eval", "base")
    assert all(row["outcome"] == "wrong" and row["tokens"] > 1 and row["finish_reason"] == "stop" for row in graded)
    assert found[TASK]["base"]["settings"]["device"] in server.url
    assert not list((tmp_path / "eval").rglob("*progress*"))


def test_plain_prompts_are_texts_to_complete_and_end_at_the_next_problem(serve, tmp_path):
    server = serve()
    score(recipe(server.url, arms=["base@fewshot"]), tmp_path / "eval")
    assert len(asked(server)) == 3
    for call in asked(server):
        assert call["path"] == "POST /v1/completions" and call["stop"] == ["\n\nProblem:"]
        assert call["messages"][0]["content"].count("Problem:") == 5


def test_every_sample_has_its_own_seed_and_greedy_answers_have_none(serve, tmp_path):
    server = serve()
    score(recipe(server.url, samples=4, temperature=0.6), tmp_path / "sampled")
    seeds = [call["seed"] for call in asked(server)]
    assert len(seeds) == len(set(seeds)) == 12
    graded = rows(tmp_path / "sampled", "base")
    assert [(row["doc_id"], row["sample"]) for row in graded] == [(i, k) for i in range(3) for k in range(4)]
    greedy = serve()
    score(recipe(greedy.url), tmp_path / "greedy")
    assert {call["seed"] for call in asked(greedy)} == {None}


def test_a_server_that_fails_in_the_middle_loses_no_answer(serve, tmp_path):
    whole, broken = serve(), serve(down_after=4)
    settings = {"samples": 4, "temperature": 0.6}
    score(recipe(whole.url, **settings), tmp_path / "whole")
    found = recipe(broken.url, **settings, served={"base": "base-model"})
    with pytest.raises(CFTError):
        score(found, tmp_path / "eval")
    kept = len(asked(broken))
    broken.__exit__()
    again = serve(port=int(broken.url.rpartition(":")[2].partition("/")[0]))
    score(found, tmp_path / "eval")
    assert kept >= 4 and len(asked(again)) == 12 - kept
    again, whole = ([row["response"] for row in rows(tmp_path / name, "base")] for name in ("eval", "whole"))
    assert again == whole


def test_what_making_the_data_cost_counts_towards_the_cost_of_scoring(serve, tmp_path):
    endpoint = {"base_url": serve().url, "price": {"input": 0.0, "output": 1e6}}  # at most $64 an answer
    found = recipe("http://h/v1", arms=["base"], endpoint=endpoint)
    found = found.model_copy(update={"model": ModelBlock(id="smollm2-135m")})
    run = open_run(found, {}, tmp_path)
    run.stage("data", {}).finish(seed=0, counts={}, cost_usd=40.0)
    with pytest.raises(CFTError, match=r"--max-cost 50: .* so it was not sent"):
        eval_stage(found, run, Console(quiet=True), max_cost=90.0)


def test_a_server_that_does_not_know_the_model_or_is_not_there_is_told(serve, tmp_path):
    server = serve(only_model="another")
    with pytest.raises(CFTError, match=r"base-model.*is not known"):
        score(recipe(server.url), tmp_path / "eval")
    with pytest.raises(CFTError, match="cannot be reached"):
        score(recipe("http://127.0.0.1:9/v1"), tmp_path / "eval")


def test_the_recipe_must_name_every_arm_at_the_endpoint(tmp_path):
    endpoint = "eval.endpoint={base_url: 'http://localhost:8000/v1', batch: true}"
    with pytest.raises(RecipeError) as error:
        load_recipe("quickstart", [endpoint, "eval.served={base: x}"])
    assert "does not name 'adapter'" in str(error.value) and "batch" in str(error.value)
