"""Fixtures of the training tests."""

from pathlib import Path

import pytest

from tests.support import training
from tests.support.launching import ARGS
from tests.support.selecting import ANSWER, QUESTIONS, write_examples, write_rows
from tests.support.tiny import make_tiny_model


@pytest.fixture(scope="module")
def learner(tmp_path_factory) -> Path:
    """The tiny model with larger embeddings: its frozen output layer can be sure of a token, so it learns by heart."""
    from transformers import AutoModelForCausalLM

    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "learner")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")
    model.get_input_embeddings().weight.data *= 25
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Examples of which a model learns to box a 4, validation items of which that is the answer, and test items."""
    folder = tmp_path_factory.mktemp("selection")
    write_examples(folder / "examples.jsonl", ANSWER)
    write_rows(folder / "validation.jsonl", [{"problem": q, "answer": "4"} for q in QUESTIONS])
    write_rows(folder / "test.jsonl", [{"problem": "What is 2+2?", "answer": "4"}])
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Processes of one thread each that see no GPU."""
    patch = pytest.MonkeyPatch()
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def single(one_thread, tiny_model, tmp_path_factory):
    """Recipe, examples, and the folder of a training in one process, for several to train the same."""
    folder = tmp_path_factory.mktemp("single")
    recipe = training.make_recipe(tiny_model, ARGS, dtype="float32")
    examples = training.write_examples(folder / "examples.jsonl", 9)
    training.run_train(recipe, examples, folder)
    return recipe, examples, folder
