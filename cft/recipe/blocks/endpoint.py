"""A server of the OpenAI API, and what its tokens cost."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from cft.recipe.blocks.base import Block, Count

KEY_LIKE = re.compile(r"\b(?:sk|hf|gsk|xai)[-_](?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}")
USD = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


def _server(url: Any) -> Any:
    if isinstance(url, list):
        raise ValueError(
            "is a list, but an endpoint is one address. Put several servers behind one: `vllm serve "
            "--data-parallel-size N`, Ray Serve, or any reverse proxy"
        )
    if not isinstance(url, str):
        return url  # which is refused for its type
    if not re.fullmatch(r"[!-~]{1,2000}", url) or "\\" in url:
        fix = "Write a name beyond ASCII in its xn-- form" if url.isprintable() else "Write http://HOST:PORT/v1"
        raise ValueError(f"holds white space or characters that no address has. {fix}")
    if any(sign in url for sign in "@?#") or KEY_LIKE.search(url):
        raise ValueError("holds more than an address. Keys belong in the environment: name the variable in api_key_env")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.port != 0 and _is_host(parts)
    except ValueError:  # a port that is none, brackets around what is no IPv6 address
        known = False
    if not known:
        raise ValueError("is no address of a server. Write http://HOST:PORT/v1 or https://HOST/v1, PORT at most 65535")
    return url


def _is_host(parts: SplitResult) -> bool:
    """Whether an address has a host; ValueError for an IP address that is none."""
    name = parts.hostname or ""
    if "[" in parts.netloc:
        return re.fullmatch(r"\[[0-9a-f:.]+\](:[0-9]*)?", parts.netloc.lower()) is not None and bool(IPv6Address(name))
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name):
        return bool(IPv4Address(name))
    labels = name.removesuffix(".").split(".")
    if "xn--" in name and "_" in name:
        return False
    return len(name) < 254 and all(re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", it) for it in labels)


def _variable(name: str) -> str:
    mixed = len(name) > 24 and all(re.search(kind, name) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > 60 or mixed or KEY_LIKE.match(name):
        raise ValueError("is no name of an environment variable. Write the name, never the key: OPENAI_API_KEY")
    return name


class PriceBlock(Block):
    """USD for a million tokens."""

    input: USD = Field(description="USD for a million tokens of prompts.")
    output: USD = Field(description="USD for a million tokens of answers.")


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
    timeout: Seconds = Field(120, description="Seconds without any sign of life after which an attempt has failed.")
    patience: Seconds = Field(600, description="Seconds without any answer after which the run stops.")
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
