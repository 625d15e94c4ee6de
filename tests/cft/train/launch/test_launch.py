"""Several processes train what one trains, end together, leave nobody behind, and say one thing when one fails."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from cft.cli.main import app
from cft.errors import TrainError
from cft.train.launch.start import CONFIGS, check_launch, names
from tests.support.launching import ARGS, assert_same_training, launched, ranks_of, started
from tests.support.training import make_recipe, run_train

pytestmark = pytest.mark.usefixtures("one_thread")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


def test_two_processes_train_what_one_trains(single, tmp_path) -> None:
    recipe, examples, one = single
    summary, shown = launched(recipe, examples, tmp_path)
    assert_same_training(one, tmp_path)
    assert summary["processes"] == 2 and summary["launch"] == "ddp"
    assert summary["steps"] == 6 and summary["rows_a_step"] == 4
    assert shown.count("step 6/6  loss") == 1  # one process speaks
    assert (tmp_path / "adapter" / "README.md").is_file() and not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("again", [pytest.param("in two processes", marks=pytest.mark.soak), "in one"])
def test_a_terminated_training_saves_its_step_and_goes_on(single, tmp_path, again) -> None:
    recipe, examples, one = single
    process = started(recipe, examples, tmp_path)
    shown = ""
    for line in process.stdout:
        shown += line
        if line.startswith("step 1/6"):
            process.send_signal(signal.SIGTERM)
            break
    shown += process.stdout.read()
    assert process.wait() != 0 and "Terminated" in process.stderr.read()
    assert not ranks_of(tmp_path)
    saved = [path.parent.name for path in tmp_path.glob("checkpoints/*/complete")]
    assert saved and "checkpoint-6" not in saved, shown
    _, shown = (launched if again == "in two processes" else run_train)(recipe, examples, tmp_path)
    assert "going on from step" in shown
    assert_same_training(one, tmp_path)


@pytest.mark.parametrize("victim", ["parent", "rank"])
def test_no_process_is_left_when_one_is_killed(single, tmp_path, victim) -> None:
    recipe, examples, _ = single
    pid = os.fork()
    if not pid:
        os.setsid()
        code = 1
        try:
            launched(make_recipe(Path(recipe.model.id), ARGS | {"num_train_epochs": 500}), examples, tmp_path)
        except TrainError as error:
            (tmp_path / "error.txt").write_text(str(error))
            code = 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("checkpoints/*/complete")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(pid if victim == "parent" else ranks_of(tmp_path)[-1], signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while ranks_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    if victim == "rank":
        assert os.WEXITSTATUS(status) == 2
        assert "was killed" in (tmp_path / "error.txt").read_text()


def test_a_fault_in_the_processes_is_told_once_in_its_own_words(single, tmp_path) -> None:
    recipe, examples, _ = single
    odd = make_recipe(Path(recipe.model.id), ARGS | {"gradient_accumulation_steps": 3})
    with pytest.raises(TrainError) as caught:
        launched(odd, examples, tmp_path)
    assert str(caught.value) == (
        "--processes 2: 3 micro-batches of 1 row(s) a step cannot be shared equally. With 1, 3 process(es) they can."
    )


@no_gpu
@pytest.mark.parametrize(
    ("name", "processes", "message"),
    [
        ("dpp", 2, "--launch dpp: is neither shipped nor a file. Did you mean ddp?"),
        ("ddp", None, "--launch ddp: no GPU is here to count. Give --processes 2 for two CPU processes."),
        ("ddp", 0, "--processes 0: must be at least 1."),
        ("ddp", 99_999_999_999, "--processes 99999999999: this machine has"),
        (None, 2, "--processes 2: needs --launch, one of ddp, fsdp2, zero3, or a file."),
        ("fsdp2", 2, "--launch fsdp2: accelerate shards a model over GPUs only"),
    ],
)
def test_what_cannot_be_launched_is_said(tiny_model, name, processes, message) -> None:
    with pytest.raises(TrainError) as caught:
        check_launch(name, processes, make_recipe(tiny_model))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["a: [", "distributed_type: SOMETHING\n", "- 1\n", "distributed_type: MEGATRON_LM\n"])
def test_a_file_that_is_no_configuration_is_refused(tiny_model, tmp_path, text) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(TrainError, match=r"--launch .*mine\.yaml: "):
        check_launch(str(file), 2, make_recipe(tiny_model))


def test_ones_own_configuration_works_as_a_shipped_one(tiny_model, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text((CONFIGS / "ddp.yaml").read_text())
    launch = check_launch(str(tmp_path / "mine.yaml"), 2, make_recipe(tiny_model))
    assert launch.kind == "ddp" and launch.processes == 2


def test_accelerate_reads_every_shipped_configuration() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {name: load_config_from_file(str(CONFIGS / f"{name}.yaml")).distributed_type.value for name in names()}
    assert kinds == {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}


def test_the_command_line_refuses_before_anything_runs(tmp_path) -> None:
    result = CliRunner().invoke(app, ["train", "smoke", "--launch", "dpp", "--runs", str(tmp_path)])
    assert isinstance(result.exception, TrainError) and not list(tmp_path.iterdir())
