"""How a server is reached: the key, the client, the proxies of the environment, and how long it asks to wait."""

import email.utils
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cft.errors import DataError
from cft.words import tidy

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock

Client = TypeVar("Client")
LONGEST_ASKED = 366 * 86400.0  # seconds; what a Retry-After says beyond it is no time


def api_key(block: "EndpointBlock") -> str | None:
    """The key from the environment; None where the endpoint needs none.

    Raises:
        DataError: if the variable is not set, or holds what no key does. The message does not repeat it.
    """
    if block.api_key_env is None:
        return None
    key = os.environ.get(block.api_key_env, "").strip()
    if not key:
        raise DataError(
            f"{block.api_key_env}: is not set, and {block.host} needs an API key. "
            f"`export {block.api_key_env}=...`, or set api_key_env to null for a server without keys."
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise DataError(
            f"{block.api_key_env}: holds white space, control characters or letters beyond ASCII, so it is no API key. "
            f"Set it again, to one line: `export {block.api_key_env}=...`."
        )
    return key


def masked(text: str, key: str | None) -> str:
    """`text` without the key, should a server have sent it back, or spelled it out."""
    return re.sub(r"[\s%.,-]?".join(map(re.escape, key)), "***", text) if key else text


def fault_line(text: str, key: str | None) -> str:
    """What a server says, as one short line without the key, or any other that looks like one."""
    text = masked(tidy(" ".join(text[:4000].split())), key)
    return re.sub(r"\b(sk|key|hf|gsk|xai)[-_][A-Za-z0-9_-]{8,}", "***", text)[:300]


def open_client(kind: Callable[..., Client], **options: object) -> Client:
    """An HTTP client that keeps to HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, and follows no redirect.

    Raises:
        DataError: for a proxy that cannot be used.
    """
    import httpx2

    try:
        return kind(follow_redirects=False, **options)
    except ImportError:
        raise DataError(
            "the proxy in ALL_PROXY, HTTP_PROXY or HTTPS_PROXY speaks SOCKS, for which a package is missing. "
            '`pip install "httpx2[socks]"`, or unset the variable (`env -u ALL_PROXY -u all_proxy cft ...`).'
        ) from None
    except (ValueError, httpx2.InvalidURL):
        raise DataError(
            "ALL_PROXY, HTTP_PROXY or HTTPS_PROXY holds no address of a proxy. Set it to http://HOST:PORT, or unset it."
        ) from None


def connection_fault(url: str) -> str | None:
    """Why the server at this address, or the proxy on the way to it, cannot be reached; None if it can."""
    import httpx2

    with open_client(httpx2.Client, timeout=httpx2.Timeout(10, read=3)) as client:
        try:
            with client.stream("GET", url):
                return None
        except httpx2.ReadTimeout:
            return None  # it is there, and slow
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
            return tidy(str(error)) or type(error).__name__
        except httpx2.TransportError:
            return None  # it is there; what it makes of this address is not asked


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait, from a number or a date; None without a readable one."""
    value = headers.get("retry-after", "")
    seconds = None
    with suppress(ValueError):
        seconds = float(value)
    with suppress(TypeError, ValueError, OverflowError):
        at = email.utils.parsedate_to_datetime(value).timestamp()
        now = time.time()
        with suppress(TypeError, ValueError, OverflowError):  # by the server's own clock, where it shows it
            now = email.utils.parsedate_to_datetime(headers.get("date", "")[-29:]).timestamp()  # the last of several
        seconds = at - now
    if seconds is None or seconds != seconds:
        return None
    return min(max(0.0, seconds), LONGEST_ASKED)
