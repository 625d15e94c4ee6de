"""Sends a run's data, or an export of its model, to a repository on the hub."""

import re
from pathlib import Path

from cft.errors import RunError
from cft.export.folder import RECORD
from cft.runs import CANDIDATES, CARD, CRITIQUES, DATA, EXAMPLES, MANIFEST, PROBLEMS, Run

FILES = (CARD, EXAMPLES, CRITIQUES, CANDIDATES, PROBLEMS, MANIFEST)


def push_data(run: Run, repository: str, *, private: bool, really: bool) -> dict:
    """Send the data of a run to a data set repository, as `send` does. The models' raw answers stay here."""
    run.need(DATA, run.examples)
    files = {name: run.data / name for name in FILES if (run.data / name).is_file()}
    message = f"Data of {run.path.parent.name} {run.path.name}"
    return send(files, repository, "dataset", message, private=private, really=really)


def push_export(folder: Path, repository: str, run: Run, *, private: bool, really: bool) -> dict:
    """Send the files of an export to a model repository, as `send` does: weights, tokenizer and card, not RECORD."""
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and path.name != RECORD}
    message = f"{folder.name} of {run.path.parent.name} {run.path.name}"
    return send(files, repository, "model", message, private=private, really=really)


def check_repository(repository: str) -> None:
    """Raise RunError unless this is a name of a repository."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise RunError(f"{repository}: is no repository name. Write OWNER/NAME.")


def send(files: dict[str, Path], repository: str, kind: str, message: str, *, private: bool, really: bool) -> dict:
    """Create a repository of this kind, dataset or model, if it is not there, and send the files in one commit.

    Args:
        files: name in the repository to the file here.
        really: False: only say what would be sent.

    Returns:
        {"url", "private", "sent", "files": {name: bytes}}

    Raises:
        RunError: for a name that is none, and for whatever the hub refuses.
    """
    check_repository(repository)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    result = {"url": None, "private": private, "sent": really, "files": {n: p.stat().st_size for n, p in files.items()}}
    if not really:
        return result
    api = HfApi()
    try:
        url = api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        api.create_commit(
            repository,
            [CommitOperationAdd(name, str(path)) for name, path in files.items()],
            commit_message=message,
            repo_type=kind,
        )
    except LocalTokenNotFoundError:
        raise RunError("the hub wants a token. Log in with `hf auth login`, or set HF_TOKEN.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        hint = " Check HF_TOKEN and that you may write there." if status in (401, 403) else ""
        raise RunError(f"{repository}: the hub answers {status}.{hint} Nothing was changed here.") from None
    except HFValidationError as error:
        raise RunError(f"{repository}: is no repository name ({error}). Write OWNER/NAME.") from None
    except Exception as error:  # the HTTP library's own errors: no network, no such host
        if not type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3")):
            raise
        raise RunError(
            f"the hub cannot be reached ({type(error).__name__}). Check the network, or HF_ENDPOINT."
        ) from None
    return result | {"url": str(url)}
