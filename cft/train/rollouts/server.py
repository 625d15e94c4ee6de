"""The vLLM server that samples a training's completions: is it there, and does it have the recipe's model?"""

import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any

from cft.errors import TrainError
from cft.models.source import ModelSource
from cft.words import shell_line

SECONDS = 10  # for an answer
# As TRL 1.16 asks for in the documentation of trl.generation.vllm_client.VLLMClient
OPTIONS = ["--weight-transfer-config", '{"backend": "nccl"}', "--logprobs-mode", "processed_logprobs"]
OPTIONS += ["--max-logprobs", "-1"]


def check_server(args: dict[str, Any], source: ModelSource) -> None:
    """Ask the server of `train.args` which model it has; TRL takes the first that it names, whatever it is.

    Raises:
        TrainError: nothing answers there, or not as vLLM does, or it has another model than the recipe.
    """
    if not args.get("use_vllm") or args.get("vllm_mode") != "server":
        return
    host, port = args.get("vllm_server_host", "0.0.0.0"), args.get("vllm_server_port", 8000)
    address = (args.get("vllm_server_base_url") or f"http://{host}:{port}").rstrip("/")
    start = shell_line("vllm", "serve", source.hub_id or source.location, *OPTIONS)
    fix = f"Start it first: VLLM_SERVER_DEV_MODE=1 {start}"
    place = "Its address is train.args.vllm_server_base_url."
    try:
        with urllib.request.urlopen(f"{address}/v1/models", timeout=SECONDS) as answer:
            served = json.load(answer)["data"][0]
        names = {str(served["id"]), str(served.get("root") or served["id"])}
    except (OSError, http.client.HTTPException) as error:
        raise TrainError(f"{address}: no vLLM server answers there ({error}). {place} {fix}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TrainError(f"{address}: does not name a model as a vLLM server does ({error!r}). {place}") from None
    own = {source.name, source.hub_id, source.location} - {None}
    same_folder = any(Path(name).is_dir() and Path(name).samefile(source.location) for name in names if source.cached)
    if not (names & own or same_folder):
        raise TrainError(
            f"{address}: the vLLM server has the model {' = '.join(sorted(names))}, but the recipe's is "
            f"{source.public_name}. Set model.id to it, or start the server with the recipe's: "
            f"VLLM_SERVER_DEV_MODE=1 {start}"
        )
