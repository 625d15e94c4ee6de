"""What servers send becomes one sane record: text, how it ended, tokens; whatever the shape."""

import json
import math

import pytest

from data_builders.asking.engine import RetryableError
from data_builders.asking.reply import BodyError, read_events, read_reply
from tests.support.asking import pieces, plan, whole

(CALL,) = plan(1)  # at most 64 tokens


def read(body):
    """The answer in a body: bytes, or what is sent as JSON."""
    events, complete = read_events(body if isinstance(body, bytes) else json.dumps(body).encode())
    return read_reply(events, CALL, fault=None if complete else "cut off")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a "}, "b", {"text": "c"}], "a bc"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "output_text", "text": "a"}],
            "a",
        ),
        ([{"text": "hm", "thought": True}, {"text": "a"}], "a"),
        ({"type": "text", "text": "a"}, "a"),
        (5, "5"),
        (None, ""),
        ({"a": [1]}, ""),
        ("half \ud83d", "half \ufffd"),
        ("caf\u00e9 \u2028\0", "caf\u00e9 \u2028\0"),
    ],
)
def test_content_in_any_shape(content, text):
    for body in (whole(content), pieces(content)):
        assert read(body).text == text
        assert read(body).status == ("ok" if text else "empty")


def test_a_character_that_came_in_two_pieces_is_whole():
    assert read(pieces("smile \ud83d", "\ude00.")).text == "smile 😀."


ENDS = {
    "ok": ["stop", "STOP", "eos_token", "end_turn", "COMPLETE", "stop_sequence", "FinishReason.STOP"],
    "truncated": [
        *("length", "MAX_TOKENS", "max_tokens", "model_length", "FINISH_REASON_MAX_TOKENS", "tool_calls"),
        *("never-heard-of", "", 5, ["stop"], {"a": 1}, "x" * 9999, None),
    ],
    "refused": ["content_filter", "SAFETY", "refusal", "RECITATION", "guardrail_intervened"],
}


@pytest.mark.parametrize(("finish", "status"), [(word, status) for status, words in ENDS.items() for word in words])
def test_what_is_not_known_to_be_whole_is_cut_off(finish, status):
    for body in (whole("half", finish), pieces("half", finish=finish)):
        answer = read(body)
        assert (answer.status, answer.text) == (status, "half") and len(answer.finish_reason) <= 40


@pytest.mark.parametrize("finish", ["error", "ERROR", "abort", "cancelled", "insufficient_system_resource"])
def test_what_the_server_broke_off_is_asked_again_and_counts_as_written(finish):
    with pytest.raises(RetryableError, match="broke off") as caught:
        read(whole("half of it", finish))
    assert caught.value.written == 4


@pytest.mark.parametrize(
    "usage",
    [
        None, "none", [1, 2], 5, {}, {"prompt_tokens": None}, {"prompt_tokens": "9", "completion_tokens": "7"},
        {"prompt_tokens": -9, "completion_tokens": -7}, {"prompt_tokens": math.nan, "completion_tokens": math.inf},
        {"prompt_tokens": 10**300, "completion_tokens": 10**400}, {"prompt_tokens": True, "completion_tokens": False},
        {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": {"a": 1}, "completion_tokens": [7]},
        {"prompt_tokens": 1.5, "completion_tokens": 2.5},
    ],
)  # fmt: skip
def test_usage_that_cannot_be_is_estimated_on_the_safe_side(usage):
    answer = read(whole("x" * 100, usage=usage))
    assert answer.estimated and answer.output_tokens == 40 and answer.input_tokens == CALL.tokens_at_most >= 20
    answer = read(whole("x" * 100, usage={"prompt_tokens": 9, "completion_tokens": 7.0}))
    assert (answer.estimated, answer.input_tokens, answer.output_tokens) == (False, 9, 7)


def test_thoughts_beside_the_text_count_as_tokens():
    message = {"role": "assistant", "content": "a", "reasoning_content": "x" * 999}
    answer = read({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert answer.text == "a" and answer.output_tokens == 400


@pytest.mark.parametrize(
    ("model", "kept"), [("m", "m"), (["a"], None), ({"a": 1}, None), (5, None), ("\x1b[3\ud800", "\ufffd[3\ufffd")]
)
def test_a_served_model_is_a_short_text_or_none(model, kept):
    assert read(whole(model=model)).served_model == kept
    assert len(read(whole(model="m" * 10**6)).served_model) == 200


def test_a_refusal_of_any_type_is_one():
    for refusal, text in (("I cannot.", "I cannot."), ({"a": 1}, ""), ([{"type": "text", "text": "No."}], "No.")):
        message = {"role": "assistant", "content": None, "refusal": refusal}
        answer = read({"choices": [{"message": message, "finish_reason": "stop"}]})
        assert (answer.status, answer.text) == ("refused", text)


def test_a_text_longer_than_its_tokens_can_be_is_cut_and_called_so():
    answer = read(whole("x " * 5_000_000))
    assert answer.status == "truncated" and len(answer.text) < 4000


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ({"message": "Provider returned error", "code": 429}, 429, "Provider returned error (429)"),
        ({"message": "slow down", "type": "rate_limit_error"}, 429, "slow down"),
        ({"message": "no", "status": "RESOURCE_EXHAUSTED"}, 429, "no"),
        ({"message": "e", "metadata": {"raw": "upstream: Too Many Requests"}}, 429, "upstream: Too Many Requests"),
        ({"message": "Incorrect key", "code": "invalid_api_key"}, 401, "Incorrect key (invalid_api_key)"),
        ({"code": "insufficient_quota"}, 402, "insufficient_quota"),
        ({"message": "too long", "code": "context_length_exceeded"}, 400, "too long"),
        ("overloaded", 500, "overloaded"),
        ({"message": {"a": [1]}}, 500, '{"a": [1]}'),
    ],
)
def test_an_error_with_status_200_keeps_its_words_and_its_code(error, status, words):
    for body in (whole(choices=None, error=error), f"data: {json.dumps({'error': error})}\n\n".encode()):
        with pytest.raises(BodyError) as caught:
            read(body)
        assert caught.value.status == status and words in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"null", b"[]", b"5", b"{nope", b"[" * 200_000, b"\xff\xfe\xfa", b'{"choices": 5}',
        b'{"choices": [null]}', b"data: {nope\n\n", b"data: [DONE]\n\n", pieces("half", done=False)[:60],
    ],
)  # fmt: skip
def test_what_is_no_answer_may_be_one_at_another_time(body):
    with pytest.raises(RetryableError):
        read(body)


def test_what_can_be_read_is_read():
    body = json.dumps(whole("a"))
    for raw in (body.encode("utf-16"), b"\xef\xbb\xbf" + body.encode(), body.encode().replace(b"odd", b"\xff")):
        assert read(raw).text == "a"
    assert read(body.replace(": 9,", ": " + "9" * 5000 + ",").encode()).estimated
    assert read(pieces("a", done=False)).text == "a"  # it had ended
    late = pieces("a", done=False) + b'data: {"error": {"message": "too late"}}\n\n'
    assert read(late).text == "a"
    assert read(b": ping\r\n\r\nevent: x\r\n" + pieces("a").replace(b"\n", b"\r\n")).text == "a"
    assert read({"choices": [{"text": "a", "finish_reason": "stop"}]}).text == "a"
