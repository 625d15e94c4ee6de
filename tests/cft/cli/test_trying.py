"""A question to base and adapter at once: the tokens of each alone, shown as text and nothing else."""

import io

import pytest

from cft.cli.try_arms import Said, ask, columns, open_trial, show_beside, show_in_turn
from cft.errors import EvalError, RunError
from cft.models.generate import generate, render
from cft.runs import Run
from cft.terminal import Terminal
from data_builders.prompts import messages, solve_prompt
from tests.support.evaluating import QUESTION, make_run

HOSTILE = "\x1b]0;title\x07 [bold]x[/bold] \x1b[2J\u202ereversed\rover \ud800 \\boxed{7}"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model) -> Run:
    return make_run(tmp_path_factory.mktemp("tried"), tiny_model)


@pytest.fixture(scope="module")
def trial(run):
    return open_trial(run)


def alone(trial, arm: str, **sampling) -> tuple:
    """What `generate` gives for this one prompt and arm."""
    prompt = render(trial.models.tokenizer, messages(solve_prompt(QUESTION)))
    with trial.models.answering_as(arm) as model:
        [done] = generate(model, trial.models.tokenizer, [prompt], max_new_tokens=24, **sampling)
    return done.text, done.tokens, done.finish_reason


def of(told: dict) -> tuple:
    return told["text"], told["tokens"], told["finish_reason"]


def terminal(width: int = 100, height: int = 20, **options) -> Terminal:
    return Terminal(
        file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False, **options
    )


def test_decoded_in_turn_each_writes_what_it_writes_alone(trial):
    told = ask(trial, QUESTION)
    assert of(told["base"]) == alone(trial, "base")
    assert of(told["adapter"]) == alone(trial, "adapter")
    assert told["base"]["text"] != told["adapter"]["text"]
    assert told["question"] == QUESTION and told["base"]["tokens"] == 24


def test_one_that_ends_leaves_the_other_to_go_on(run):
    trial = open_trial(run)
    model, tokenizer = trial.models.loaded, trial.models.tokenizer
    base, adapter = (alone(trial, arm)[0] for arm in trial.arms)
    end = tokenizer.convert_tokens_to_ids(next(sign for sign in adapter[2:] if sign.isascii() and sign not in base))
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    told = ask(trial, QUESTION)
    assert (told["adapter"]["finish_reason"], told["base"]["finish_reason"]) == ("stop", "length")
    assert of(told["adapter"]) == alone(trial, "adapter")
    assert told["adapter"]["tokens"] < told["base"]["tokens"] == 24


def test_sampling_repeats_with_its_seed_and_differs_with_another(run):
    told = ask(open_trial(run, temperature=1.0, seed=1), QUESTION)
    again = open_trial(run, temperature=1.0, seed=1)
    assert ask(again, QUESTION) == told != ask(open_trial(run, temperature=1.0, seed=2), QUESTION)
    assert of(told["adapter"]) == alone(again, "adapter", temperature=1.0, seed=1)


def test_without_the_adapter_only_the_base_answers(run, trial):
    told = ask(open_trial(run, base_only=True, max_new_tokens=5), QUESTION)
    assert list(told) == ["question", "base"] and told["base"]["tokens"] == 5
    assert ask(trial, QUESTION)["base"]["text"].startswith(told["base"]["text"].rstrip("\ufffd"))


@pytest.mark.parametrize(
    ("text", "reason", "answer", "outcome"),
    [
        (r"so \boxed{36.0}", "stop", "36.0", "correct"),
        (r"so \boxed{35}", "stop", "35", "wrong"),
        ("so 36", "stop", None, "no_answer"),
        ("so", "length", None, "truncated"),
        (r"so \boxed{36} and then", "length", "36", "correct"),
    ],
)
def test_graded_as_the_evaluation_grades(run, text, reason, answer, outcome):
    judged = open_trial(run, gold="36").judged(Said(text, 3, reason))
    assert (judged["answer"], judged["outcome"]) == (answer, outcome)
    assert "outcome" not in open_trial(run).judged(Said(text, 3, reason))


def streams(*texts: str) -> dict:
    """Answers that come a character at a time."""

    def stream(text: str):
        for n in range(1, len(text) + 1):
            yield Said(text[:n], n, "stop" if n == len(text) else None)

    return dict(zip(("base", "adapter"), map(stream, texts), strict=True))


def test_what_a_model_writes_cannot_steer_the_terminal_or_be_read_as_markup(trial):
    for show, console in ((show_beside, terminal()), (show_in_turn, terminal()), (show_in_turn, terminal(60))):
        show(trial, streams(HOSTILE, "fine"), console)
        printed = console.file.getvalue()
        assert "[bold]x[/bold]" in printed and "fine" in printed
        assert not any(bad in printed for bad in ("\x1b]0", "\x07", "\x1b[2J", "\u202e", "\rover", "\ud800"))


def test_where_it_is_no_terminal_the_text_is_plain_and_whole(run):
    trial, console = open_trial(run, gold="7"), Terminal(file=io.StringIO(), width=100)
    long = "one two three " * 40 + r"\boxed{7}"
    said = show_in_turn(trial, streams(long, "caf\ufffd then é"), console)
    printed = console.file.getvalue()
    assert "\x1b" not in printed
    assert printed.split("\n")[:2] == ["base", long]
    assert "adapter\ncaf\ufffd then é\n" in printed
    assert f"{len(long)} tokens, ended by itself, answer 7, correct" in printed
    assert said["base"].text == long


def test_a_terminal_with_room_gets_both_columns_and_a_narrow_one_gets_them_in_turn(trial):
    wide, narrow = terminal(100, color_system=None), terminal(70, color_system=None)
    ask(trial, QUESTION, wide)
    ask(trial, QUESTION, narrow)
    assert any("base" in line and "adapter" in line for line in wide.file.getvalue().split("\n"))
    assert not any("base" in line and "adapter" in line for line in narrow.file.getvalue().split("\n"))
    assert wide.file.getvalue().count("24 tokens") >= 2 and "24 tokens" in narrow.file.getvalue()


def test_a_growing_answer_never_outgrows_the_screen_and_ends_whole(trial):
    console = terminal(100, 20)
    said = {"base": Said("\n".join(f"line {i}" for i in range(500)), 900), "adapter": Said("word " * 900, 900)}
    growing = console.render_lines(columns(trial, said, console, console.height - 7))
    assert len(growing) < 20
    shown = "\n".join("".join(segment.text for segment in line) for line in growing)
    assert "line 499" in shown and "line 400" not in shown
    assert len(console.render_lines(columns(trial, said, console))) >= 500


@pytest.mark.parametrize("show", [show_beside, show_in_turn])
def test_what_was_written_stays_when_it_is_interrupted(trial, show):
    def interrupted():
        yield Said("half an", 2)
        yield Said("half an answer", 3)
        raise KeyboardInterrupt

    console = terminal()
    with pytest.raises(KeyboardInterrupt):
        show(trial, {"base": interrupted(), "adapter": iter([Said("whole", 1, "stop")])}, console)
    assert "half an answer" in console.file.getvalue()


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("  \n", "empty"),
        ("word " * 900, "together, but the model reads 4096. Shorten the question"),
        ("x" * 4010, "Give --max-new-tokens"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_questions_that_cannot_be_asked(trial, question, message):
    with pytest.raises(EvalError, match=message):
        ask(trial, question)


def test_a_run_without_an_adapter_says_to_train_first(tmp_path, tiny_model):
    run = make_run(tmp_path, tiny_model, adapter=False)
    with pytest.raises(RunError, match=r"has no adapter. Train it first .`cft train tried`.*--base-only"):
        open_trial(run)
    assert ask(open_trial(run, base_only=True, max_new_tokens=2), QUESTION)["base"]["tokens"] == 2
    run.adapter.mkdir(parents=True)
    with pytest.raises(EvalError, match="is no adapter"):
        open_trial(run)
