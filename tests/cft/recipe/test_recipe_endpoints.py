"""Endpoints in a recipe: every fault is told with its fix, and no key that was put there by mistake is repeated."""

import pytest

from cft.errors import RecipeError
from cft.recipe.load import load_recipe
from tests.cft.conftest import GOOD

KEY = "sk-0123456789abcdef"
TEACHER = "data.teachers=[{{kind: model, model: m, endpoint: {{base_url: 'http://localhost:8000/v1', {}}}}}]"
AMONG = "data.teachers=[{{kind: model, model: m, endpoint: {{base_url: {}}}}}]"
AT = "data.teachers=[{{kind: model, model: m, endpoint: {{base_url: '{}'}}}}]"


def teacher(settings: str) -> str:
    return TEACHER.format(settings)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        (teacher("api_key: KEY"), "endpoint.api_key: unknown key. Did you mean api_key_env?"),
        (teacher("api_key_env: KEY"), "api_key_env: is no name of an environment variable. Write the name"),
        (teacher("extra_body: {seed: 1}"), "endpoint.extra_body.seed = 1: has a key of its own"),
        (teacher("concurrency: 0"), "endpoint.concurrency = 0: must be at least 1"),
        (teacher("price: {input: 1}"), "endpoint.price.output: is missing. Add it: USD for a million tokens"),
        (teacher("price: {input: 1, otput: 2}"), "endpoint.price.otput = 2: unknown key. Did you mean output?"),
        (AT.format("localhost:8000"), "is no address of a server"),
        (AT.format("http://u:KEY@h/v1"), "holds more than an address"),
        (AT.format("http://h/v1?key=KEY"), "holds more than an address"),
        (AT.format("http://:KEY@h/v1"), "holds more than an address"),
        (AT.format("http://h/v1#KEY"), "holds more than an address"),
        (AT.format("http://h/KEY/v1"), "holds more than an address"),
        (AT.format("u:KEY@h/v1"), "holds more than an address"),
        (AT.format("http://h:65536/v1"), "is no address of a server"),
        (AT.format("http://h:0/v1"), "is no address of a server"),
        (AT.format("http://h:x/v1"), "is no address of a server"),
        (AT.format("http://a..b/v1"), "is no address of a server"),
        (AT.format("http://" + "a" * 64 + "/v1"), "is no address of a server"),
        (AT.format("http://1.2.3.456/v1"), "is no address of a server"),
        (AT.format("http://[v1.x]/v1"), "is no address of a server"),
        (AT.format("http://[::1/v1"), "is no address of a server"),
        (AT.format("http://０.0.0.0/v1"), "has. Write a name beyond ASCII in its xn-- form"),
        (AMONG.format('"http://h\\0/v1"'), "base_url: holds the character U+0000. Remove it."),
        (AMONG.format('"http://h/v1\\e[31m"'), "base_url: holds the character U+001B. Remove it."),
        (teacher("api_key_env: AIzaSyA0123456789abcdefABCDEF"), "api_key_env: is no name of an environment variable"),
        (teacher("price: {input: 1e308, output: 1}"), "price.input = \"1e308\": is beyond 1e+15"),
        (teacher("price: {input: .inf, output: 1}"), "endpoint.price.input"),
        (teacher("timeout: .inf"), "endpoint.timeout"),
        ("data.max_candidates=99999999999", "data.max_candidates = 99999999999: must be at most 1"),
        ("data.students=[{samples: 1000000000}]", "samples = 1000000000: must be at most 1"),
        ("eval.endpoint={base_url: 'http://h/v1', extra_body: {n: 5}}", "eval.endpoint.extra_body.n = 5: has a key of"),
        (AMONG.format("3"), "endpoint.base_url = 3: must be text. Put it in quotes"),
        (AMONG.format("['http://a/v1', 'http://b/v1']"), "is a list, but an endpoint is one address. Put several"),
        (AMONG.format("['http://u:KEY@h/v1']"), "`vllm serve --data-parallel-size N`, Ray Serve, or any reverse proxy"),
        ("data.teachers=[{kind: model, model: m, styles: []}]", "styles = []: is empty"),
        ("data.teachers=[{kind: model}]", "data.teachers.0.model: is missing"),
        ("data.students=[{samples: 2, endpoint: {base_url: 'http://h/v1'}}]", "an endpoint must be told one. Name it"),
        ("data.right_share=1.5", "data.right_share = 1.5: must be at most 1"),
        ("data.trim=0.5", "data.trim = 0.5: must be less than 0.5"),
    ],
)  # fmt: skip
def test_faults_of_endpoints(write_recipe, override, fault):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write_recipe(GOOD), [override.replace("KEY", KEY)])
    assert fault in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1", "https://api.openai.com/v1/", "http://[::1]:8000/v1", "http://my_vllm-1:8000/v1",
        "https://router.huggingface.co/hf-inference/models/x/v1", "http://xn--mnchen-3ya.de/v1", "HTTP://10.0.0.1",
    ],
)  # fmt: skip
def test_usual_addresses_are_taken(write_recipe, url):
    assert load_recipe(write_recipe(GOOD), [AT.format(url)]).data.teachers[0].endpoint.base_url == url


def test_an_endpoint_has_defaults_for_all_but_its_address(write_recipe):
    endpoint = load_recipe(write_recipe(GOOD), [teacher("")]).data.teachers[0].endpoint
    assert (endpoint.api_key_env, endpoint.stream, endpoint.batch, endpoint.price) == (None, True, False, None)
