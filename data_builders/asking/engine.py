"""Asks an endpoint for many answers: bounded, patient with rate limits, within a budget, and quick to give up.

- At most `concurrency` calls are in flight.
- Only rate limits, server errors, broken answers and time-outs are tried again, at most `max_attempts` times a call.
  A rate limit (429) pauses all calls, for as long as `Retry-After` says or else doubling, and uses up no attempt.
  A `Retry-After` shorter than the first wait says nothing: a server that keeps answering "at once" is not flooded.
- The circuit breaker ends it when nothing works: at the start after a few failures, later after `patience` seconds
  without any answer.
- A call is not sent if the answers so far and those in flight could together cost more than the budget. What an attempt
  wrote before it broke off counts as paid for.
- Ctrl-C sends no new calls and waits for those in flight, which are paid for; a second Ctrl-C does not wait.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cft.errors import DataError

if TYPE_CHECKING:
    from cft.recipe.blocks import EndpointBlock
    from data_builders.asking.calls import Answer, Backend, Call, Ledger

OnWait = Callable[[str, float], None]  # with a fault and the seconds until it is tried again; 0: for the user to see
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds
FIRST_FAILURES = 4  # beyond one for each worker, before anything has worked


class RetryableError(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, fault: str, *, after: float | None = None, limited: bool = False, written: int = 0) -> None:
        super().__init__(fault)
        self.written = written  # tokens of an answer that broke off, estimated
        self.after = after  # seconds that the server asks to wait
        self.limited = limited  # a rate limit, not a fault


class RejectedError(Exception):
    """This call will never be answered (say, it is too long); others may be."""


@dataclass
class Budget:
    """What all calls of a command may cost together, kept answers included."""

    limit: float | None = None  # USD
    spent: float = 0.0
    reserved: float = 0.0

    def __post_init__(self) -> None:
        if self.limit is not None and not self.limit >= 0:
            raise DataError(f"--max-cost {self.limit}: is no amount. Write USD, such as --max-cost 5.")

    def check_price(self, backend: "Backend", model: str) -> None:
        if self.limit is not None and backend.price is None:
            raise DataError(
                f"--max-cost: the price of {model} at {backend.host} is not known. Give it as "
                "price: {input: USD, output: USD} for a million tokens in its endpoint block, or leave out --max-cost."
            )

    def holds(self, amount: float = 0.0) -> bool:
        """Whether what is spent and set aside, and `amount` more, is within the limit."""
        return self.limit is None or self.spent + self.reserved + amount <= self.limit

    def reserve(self, amount: float) -> bool:
        """Set `amount` aside for a call about to be sent; False if that could go over the limit."""
        if not self.holds(amount):
            return False
        self.reserved += amount
        return True


@dataclass
class Engine:
    """Runs owed calls against `ask`, which makes one attempt at one call."""

    backend: "Backend"
    ask: Callable[["Call"], Awaitable["Answer"]]
    block: "EndpointBlock"  # how hard and how long to try
    budget: Budget
    on_wait: OnWait

    async def run(self, owed: Sequence["Call"], ledger: "Ledger") -> None:
        """Bring answers to the owed calls into the ledger.

        Raises:
            DataError: when the breaker opens, the budget does not allow the next call, or some calls were given up.
                All answers that came before are in the ledger, and after Ctrl-C those that were in flight too;
                `interrupted` then is True.
        """
        self.interrupted = False
        self.queue, self.ledger = list(reversed(owed)), ledger
        self.given_up: list[str] = []
        self.answered, self.in_flight, self.stop = 0, 0, None
        self.faults, self.limited = 0, 0  # since the last answer: faults that were no rate limit, and rate limits
        self.last_answer = self.resume_at = time.monotonic()  # no attempt is made before `resume_at`
        with _first_interrupt(self._interrupt):
            workers = [asyncio.create_task(self._work()) for _ in range(min(self.block.concurrency, len(owed)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if self.stop:
            raise self.stop
        if self.given_up and not self.interrupted:
            raise DataError(
                f"{self.backend.host}: {len(self.given_up)} of {len(owed)} calls were given up, the last one: "
                f"{self.given_up[-1]}. All other answers are kept: the same command asks only for those still owed."
            )

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.stop is not None

    def _interrupt(self) -> None:
        self.interrupted = True
        self.on_wait("stopping: waiting for the calls in flight, which are paid for (Ctrl-C again: do not wait)", 0)

    async def _work(self) -> None:
        while self.queue and not self.stopping:
            call = self.queue.pop()
            price = self.backend.price
            most = price.cost(call.tokens_at_most, call.sampling["max_tokens"]) if price else 0
            while not self.budget.reserve(most):
                if not self.in_flight:  # whose cost could still turn out lower
                    self.stop = self.stop or self._over_budget(most)
                    return
                await asyncio.sleep(0.05)
                if self.stopping:
                    return
            self.in_flight += 1
            try:
                await self._attempts(call, most)
            finally:
                self.in_flight -= 1
                self.budget.reserved = max(0.0, self.budget.reserved - most) if self.in_flight else 0.0

    async def _attempts(self, call: "Call", most: float) -> None:
        tried = faults = 0
        while not self.stopping:
            if (pause := self.resume_at - time.monotonic()) > 0:
                await self._sleep(pause)
                continue
            tried += 1
            try:
                answer = await self.ask(call)
            except DataError as error:  # what fails now fails for every call
                self.stop = self.stop or error
                return
            except RejectedError as error:
                if not self.answered and not self.ledger.rows:  # a fault of the settings rather than of this one call
                    self.stop = self.stop or DataError(f"{self.backend.host}: {error}")
                self._give_up(call, str(error), tried)
                return
            except RetryableError as error:
                faults += not error.limited
                self._note_failure(error)
                if error.written and self.backend.price:
                    self.budget.spent += self.backend.price.cost(call.tokens_at_most, error.written)
                    if not self.budget.holds():
                        self.stop = self.stop or self._over_budget(most)
                if faults >= self.block.max_attempts:
                    self._give_up(call, f"{error}, {faults} times", tried)
                    return
                await self._back_off(error, faults)
            else:
                self._keep(call, replace(answer, attempts=tried))
                return

    def _keep(self, call: "Call", answer: "Answer") -> None:
        self.faults = self.limited = 0
        self.answered += 1
        self.last_answer = time.monotonic()
        self.ledger.add(call, answer, self.backend)
        self.budget.spent += self.ledger.rows[call.key]["cost_usd"] or 0.0

    def _note_failure(self, error: RetryableError) -> None:
        """Count a failed attempt, and open the circuit breaker where there is no use in going on."""
        self.limited += error.limited
        self.faults += not error.limited
        silent = time.monotonic() - self.last_answer
        if error.after is not None and error.after > self.block.patience:
            self.stop = self.stop or DataError(
                f"{self.backend.host}: asks to wait {error.after:.0f} s ({error}), longer than `patience` "
                f"({self.block.patience:g} s). What was answered is kept: the same command goes on."
            )
        at_start = not self.answered and self.faults >= self.block.concurrency + FIRST_FAILURES
        if at_start or silent > self.block.patience:
            reason = "nothing has worked yet" if not self.answered else f"no answer for {silent:.0f} s"
            self.stop = self.stop or DataError(
                f"{self.backend.host}: {reason}, so it was stopped. The last fault: {error}. "
                "What was answered is kept: the same command goes on."
            )

    async def _back_off(self, error: RetryableError, faults: int) -> None:
        """Wait before the next attempt at a call that had so many faults."""
        doubled = FIRST_WAIT * 2 ** min(max(faults, self.limited // self.block.concurrency, 1) - 1, 10)
        wait = min(doubled, LONGEST_WAIT) * random.uniform(0.5, 1.0)
        if error.after is not None and error.after >= FIRST_WAIT:
            wait = error.after + random.uniform(0.0, min(error.after / 10, 5.0))
        if error.limited:
            self.resume_at = max(self.resume_at, time.monotonic() + wait)
        self.on_wait(str(error), wait)
        await self._sleep(wait)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but wake up soon when all is to stop."""
        until = time.monotonic() + seconds
        while not self.stopping and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.2))

    def _give_up(self, call: "Call", fault: str, tried: int) -> None:
        self.given_up.append(fault)
        self.ledger.add_failure(call, fault, tried, self.backend)

    def _over_budget(self, most: float) -> DataError:
        return DataError(
            f"--max-cost {self.budget.limit:g}: ${self.budget.spent:.4f} is spent and the next call could cost "
            f"${most:.4f}, so it was not sent; {len(self.queue) + 1} calls are still owed. What was answered is kept: "
            "the same command with a higher --max-cost goes on."
        )


@contextmanager
def _first_interrupt(handler: Callable[[], None]) -> Iterator[None]:
    """Within this, the first Ctrl-C calls `handler`; the next one does what it did before."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def once() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
        handler()

    try:
        loop.add_signal_handler(signal.SIGINT, once)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
