"""A server of the OpenAI API, and what its tokens cost."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from cft.recipe.blocks.base import Block, Count


def _server(url: Any) -> Any:
    if isinstance(url, list):
        raise ValueError(
            "is a list, but an endpoint is one address. Put several servers behind one: `vllm serve "
            "--data-parallel-size N`, Ray Serve, or any reverse proxy"
        )
    if not isinstance(url, str):
        return url  # which is refused for its type
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no address of a server. Write http://HOST:PORT/v1 or https://HOST/v1")
    if parts.username or parts.query:
        raise ValueError("holds more than an address. Keys belong in the environment: name the variable in api_key_env")
    return url


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 60:
        raise ValueError("is no name of an environment variable. Write the name, never the key: OPENAI_API_KEY")
    return name


class PriceBlock(Block):
    """USD for a million tokens."""

    input: float = Field(ge=0, description="USD for a million tokens of prompts.")
    output: float = Field(ge=0, description="USD for a million tokens of answers.")


class EndpointBlock(Block):
    """An OpenAI-compatible server, hosted or on this machine, and how it is asked."""

    base_url: Annotated[str, BeforeValidator(_server)] = Field(
        description="Where it is, e.g. http://localhost:8000/v1 for `vllm serve`."
    )
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = Field(
        None, description="Environment variable with the API key; null: the server needs none."
    )
    concurrency: Count = Field(8, description="Most calls in flight.")
    max_attempts: Count = Field(6, description="Most attempts at one call; waits for a rate limit do not count.")
    timeout: float = Field(120, gt=0, description="Seconds without any sign of life after which an attempt has failed.")
    patience: float = Field(600, gt=0, description="Seconds without any answer after which the run stops.")
    stream: bool = Field(True, description="Ask for answers in pieces, so that a stalled one is noticed early.")
    batch: bool = Field(False, description="Write a batch file and read its results, instead of asking at once.")
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the server calls the token limit; OpenAI's newer models the second."
    )
    send_seed: bool = Field(False, description="Send a seed with each call, another one for each sample.")
    price: PriceBlock | None = Field(None, description="What tokens cost; null: as in recipes/prices.yaml.")
    extra_body: dict[str, Any] = Field(default_factory=dict, description="Further keys of the request's body.")

    @property
    def host(self) -> str:
        """Host and port, without any key; for messages and ledgers."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]
