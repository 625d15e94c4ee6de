"""OpenAI batch files: requests out, results in. For hosted batches at half the price, and for `vllm run-batch`.

The first command writes the requests and stops; you run them; the same command then reads the results. Requests without
a good result stay owed, and are written again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cft.errors import DataError
from cft.files import faulty, write_jsonl
from cft.foreign import read_bytes
from cft.words import tidy
from data_builders.asking.calls import Call, Ledger, ledger_path
from data_builders.asking.endpoint import request_body, spent
from data_builders.asking.engine import Budget, RetryableError
from data_builders.asking.prices import find_price
from data_builders.asking.reply import BodyError, read_events, read_reply

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock

PATH = "/v1/chat/completions"


class BatchFiles:
    """One model, asked through files beside its ledger: MODEL.batch-requests.jsonl and MODEL.batch-results*.jsonl."""

    def __init__(self, block: "EndpointBlock", model: str, folder: Path, budget: Budget | None = None) -> None:
        self.block, self.model, self.budget = block, model, budget or Budget()
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
            for number, row in _results(path):
                self._take(row, by_key, ledger, faults, f"{path.name} line {number}")
        owed = ledger.owed(calls)
        if not owed:
            self.requests.unlink(missing_ok=True)
            return
        self._check_cost(calls, owed, ledger)
        same = {"method": "POST", "url": PATH}
        write_jsonl(self.requests, ({"custom_id": c.key, **same, "body": request_body(c, self.block)} for c in owed))
        wrong = f" {len(faults)} results could not be used, the first: {faults[0]}." if faults else ""
        raise DataError(
            f"{self.model}: {len(owed)} of {len(calls)} calls wait for a batch.{wrong} Run {self.requests} "
            f"(`vllm run-batch -i {self.requests.name} -o RESULTS --model {self.model}`, or upload it as a batch for "
            f"{PATH}), save the results beside it as {self.results.replace('*', '')}, and give the same command again."
        )

    def _check_cost(self, calls: Sequence[Call], owed: Sequence[Call], ledger: Ledger) -> None:
        """Write no requests that could together cost more than the budget: once they are run, nothing stops them."""
        self.budget.check_price(self, self.model)
        self.budget.spent += spent(self.price, calls, ledger)
        most = sum(self.price.cost(c.tokens_at_most, c.sampling["max_tokens"]) for c in owed) if self.price else 0.0
        if not self.budget.holds(most):
            raise DataError(
                f"--max-cost {self.budget.limit:g}: ${self.budget.spent:.4f} is spent and a batch of {len(owed)} calls "
                f"to {self.model} could cost ${most:.4f}, so its requests are not written. Ask for less or allow more."
            )

    def _take(self, row: dict, by_key: dict[str, Call], ledger: Ledger, faults: list[str], where: str) -> None:
        """Add one result to the ledger; of several results for a call the first good one counts."""
        call = by_key.get(str(row.get("custom_id")))
        if call is None or call.key in ledger.rows:
            return  # another plan's, or there already
        response = row.get("response") if isinstance(row.get("response"), dict) else {}
        body, failed = response.get("body"), row.get("error")
        if response.get("status_code", 200) != 200:
            failed = failed or body or response
        try:
            ledger.add(call, read_reply([{"error": failed} if failed else body], call), self)
        except (RetryableError, BodyError) as error:
            faults.append(f"{where}: {tidy(str(error))[:160] or 'no response'}")


def _results(path: Path) -> list[tuple[int, Any]]:
    """`(line number, row)` of a results file, read like what comes over the network: one odd answer spoils no other.

    Raises:
        DataError: naming the lines that are no JSON.
    """
    rows, faults = [], []
    for number, line in enumerate(read_bytes(path).split(b"\n"), 1):
        try:
            rows += [(number, row) for row in read_events(line)[0] if isinstance(row, dict)]
        except RetryableError:
            faults.append(f"line {number}: is not JSON")
    if faults:
        raise faulty(path, faults, "faulty line(s)")
    return rows
