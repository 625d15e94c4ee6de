"""OpenAI batch files: requests out, results in. For hosted batches at half the price, and for `vllm run-batch`.

The first command writes the requests and stops; you run them; the same command then reads the results. Requests without
a good result stay owed, and are written again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cft.errors import DataError
from cft.files import read_jsonl, write_jsonl
from data_builders.asking.calls import Call, Ledger, ledger_path
from data_builders.asking.endpoint import read_completion, request_body
from data_builders.asking.engine import RetryableError
from data_builders.asking.prices import find_price

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock

PATH = "/v1/chat/completions"


class BatchFiles:
    """One model, asked through files beside its ledger: MODEL.batch-requests.jsonl and MODEL.batch-results*.jsonl."""

    def __init__(self, block: "EndpointBlock", model: str, folder: Path) -> None:
        self.block, self.model = block, model
        self.host = f"batch file for {block.host}"
        self.price = find_price(block, model)
        stem = ledger_path(folder, model).stem
        self.requests = folder / f"{stem}.batch-requests.jsonl"
        self.results = f"{stem}.batch-results*.jsonl"

    def answer(self, calls: Sequence[Call], ledger: Ledger) -> None:
        """See `calls.Backend`.

        Raises:
            DataError: when requests are still owed: it says which file to run, and where the results go.
        """
        by_key, faults = {call.key: call for call in calls}, []
        for path in sorted(self.requests.parent.glob(self.results)):
            for number, row in read_jsonl(path):
                self._take(row, by_key, ledger, faults, f"{path.name} line {number}")
        owed = ledger.owed(calls)
        if not owed:
            self.requests.unlink(missing_ok=True)
            return
        same = {"method": "POST", "url": PATH}
        write_jsonl(self.requests, ({"custom_id": c.key, **same, "body": request_body(c, self.block)} for c in owed))
        wrong = f" {len(faults)} results could not be used, the first: {faults[0]}." if faults else ""
        raise DataError(
            f"{self.model}: {len(owed)} of {len(calls)} calls wait for a batch.{wrong} Run {self.requests} "
            f"(`vllm run-batch -i {self.requests.name} -o RESULTS --model {self.model}`, or upload it as a batch for "
            f"{PATH}), save the results beside it as {self.results.replace('*', '')}, and give the same command again."
        )

    def _take(self, row: dict, by_key: dict[str, Call], ledger: Ledger, faults: list[str], where: str) -> None:
        """Add one result to the ledger; of several results for a call the first good one counts."""
        from openai.types.chat import ChatCompletion

        call = by_key.get(str(row.get("custom_id")))
        if call is None or call.key in ledger.rows:
            return  # another plan's, or there already
        response = row.get("response") if isinstance(row.get("response"), dict) else {}
        body = response.get("body")
        if row.get("error") or response.get("status_code", 200) != 200 or not isinstance(body, dict):
            reason = row.get("error") or (body or {}).get("error") if isinstance(body, dict | None) else body
            faults.append(f"{where}: {str(reason or response or 'no response')[:160]}")
            return
        try:
            ledger.add(call, read_completion(ChatCompletion.construct(**body)), self)
        except RetryableError as error:
            faults.append(f"{where}: {error}")
