r"""math-verify in a process of its own, because it can hang where no alarm reaches it (`9^{9^{9}}`) or eat all memory.

`Worker` is the parent's side. The child runs this file alone (`python -P worker.py`): one JSON line in
(`[gold, answer, seconds]`), one out: `[verdict, seconds]`, the verdict null where math-verify cannot read the gold.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

WALL = 10  # how much longer a question may take by the clock than by computing: other programs compute too
START_SECONDS = 120.0  # importing sympy on a busy machine
CAN_LIMIT_COMPUTING = hasattr(signal, "setitimer")
DIGITS = 300  # that two numbers share which are taken for one
MEMORY_BYTES = 4 * 2**30  # address space, not what is in use


class Worker:
    """A child process that is started when first asked, killed when it takes too long, and started again.

    Any thread may ask; they take turns. After `os.fork` the child of the fork gets a process of its own.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Process id; None before the first question."""
        return None if self._process is None else self._process.pid

    def ask(self, gold: str, answer: str, seconds: float) -> tuple[bool | None, float]:
        """Whether math-verify finds two LaTeX texts equal, and the seconds that took: of computing, not of waiting.

        So that a busy machine gives the same grades, `seconds` limits computing too, and `WALL` times that the clock.
        None: it took longer, ran out of memory, crashed twice, or cannot read the gold.

        Raises:
            RuntimeError: the process cannot be started.
        """
        with self._lock:
            line = json.dumps([gold, answer, seconds])
            for _ in range(2):  # a process that died since the last call is no fault of these two texts
                if self._process is None or self._process.poll() is not None:
                    self._start()
                reply, late = self._exchange(line, seconds * WALL if CAN_LIMIT_COMPUTING else seconds)
                if reply or late:
                    break
            return tuple(json.loads(reply)) if reply else (None, seconds)

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def forget_after_fork(self) -> None:
        """Let go of a process that belongs to the parent of a fork."""
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process is not None:
            process.stdin.close()
            process.stdout.close()
            process.returncode = 0  # not ours to wait for

    def _start(self) -> None:
        self.stop()
        self._process = subprocess.Popen(
            [sys.executable, "-P", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        reply, late = self._exchange(None, START_SECONDS)
        if reply != b"ready":
            fault = f"no reply in {START_SECONDS:.0f} s" if late else reply.decode() or "it ended without a word"
            raise RuntimeError(
                f"the grading process cannot start: {fault}. "
                f"Check that `{sys.executable} -c 'import math_verify'` works; if not, install math-verify==0.9.0."
            )

    def _exchange(self, line: str | None, seconds: float) -> tuple[bytes, bool]:
        """Send a line, read one. Empty: the process has ended, by itself or (True) because it was late."""
        process, late = self._process, threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            if line is not None:
                process.stdin.write(line.encode() + b"\n")
            reply = process.stdout.readline()
        except OSError:
            reply = b""
        except BaseException:  # Ctrl-C: the reply to come would be taken for the next one's
            self.stop()
            raise
        finally:
            timer.cancel()
            timer.join()
        if late.is_set() or not reply.endswith(b"\n"):
            self.stop()
        out_of_time = CAN_LIMIT_COMPUTING and process.returncode == -signal.SIGPROF
        return (reply.strip() if reply.endswith(b"\n") else b""), late.is_set() or out_of_time


def _serve() -> None:
    """The child: answer until the parent closes the pipe. A parent that was killed leaves no child computing."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit = functools.partial(signal.setitimer, signal.ITIMER_PROF) if CAN_LIMIT_COMPUTING else lambda seconds: None
    alarm = getattr(signal, "alarm", lambda seconds: None)
    if hasattr(signal, "SIGALRM"):
        signal.signal(
            signal.SIGALRM, signal.SIG_DFL
        )  # like SIGPROF, the system ends the process, whatever Python is doing
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # no such limit on this system
    try:
        equal = _math_verify()
        print("ready", file=replies, flush=True)
    except ImportError as error:
        print(error, file=replies, flush=True)
        return
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        alarm(int(seconds * WALL) + 5)
        limit(seconds)
        began = time.process_time()
        verdict = equal(gold, answer)
        limit(0)
        print(json.dumps([verdict, time.process_time() - began]), file=replies, flush=True)
        alarm(0)


def _math_verify() -> Callable[[str, str], bool | None]:
    """`equal(gold, answer)` by math-verify, without its own time limits and unit stripping.

    Decimals come in as fractions (`eval.grading`), so that nothing is rounded. What cannot be read equals nothing; a
    gold that cannot be read gives None.
    """
    import logging

    import sympy
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    spelling = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    config = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=spelling)]

    @functools.lru_cache(maxsize=1024)
    def read(text: str) -> sympy.Basic | sympy.MatrixBase | None:
        # math-verify finds LaTeX only between dollar signs, and leaves the imaginary unit a symbol.
        found = parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
        if not found:
            return None
        value = found[0].doit() if isinstance(found[0], sympy.MatrixExpr) else found[0]
        return value.subs({s: sympy.I for s in value.free_symbols if s.name == "i" and s.is_real is False})

    def decided(gold: sympy.Expr, answer: sympy.Expr) -> bool | None:
        """What values say: of numbers all, of expressions in symbols whether they differ at a point; None: nothing.

        Fractions exactly; other numbers are one where their difference has no digit that counts, as evalf says itself,
        or is `DIGITS` digits smaller than they are: 1/52! is not 1/51!, and neither is 0.
        """
        symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
        point = {symbol: sympy.Rational(7919 + 2 * place, 5003 + 97 * place) for place, symbol in enumerate(symbols)}
        difference = gold - answer
        if not symbols or difference.has(sympy.Sum, sympy.Product):
            difference = difference.doit()
        if difference.is_Rational:
            return difference == 0
        found, *sizes = (sympy.N(value, 15, subs=point, maxn=DIGITS) for value in (difference, gold, answer))
        if not found.is_finite:
            return None
        nothing = sympy.Float(f"1e-{DIGITS}") * max(map(abs, sizes))  # sympy's: x^{1000000} is no float's
        same = all(part._prec == 1 or abs(part) < nothing for part in found.atoms(sympy.Float))
        return None if same and symbols else same

    def solutions(value: sympy.Basic) -> sympy.Basic:
        """The set that an inequality in one symbol describes; any other value as it is."""
        relation = isinstance(value, sympy.core.relational.Relational | sympy.And | sympy.Or)
        return value.as_set() if relation and len(value.free_symbols) == 1 else value

    def equal(gold_text: str, answer_text: str) -> bool | None:
        try:
            gold = read(gold_text)
            if gold is None:
                return None
            answer = read(answer_text)
            if answer is None:
                return False
            if gold.free_symbols == answer.free_symbols or isinstance(gold, sympy.Set) or isinstance(answer, sympy.Set):
                sets = solutions(gold), solutions(answer)
                if sets != (gold, answer) and all(isinstance(each, sympy.Set) for each in sets):
                    one, other = (each.doit() for each in sets)
                    return bool(one == other or (one.is_subset(other) and other.is_subset(one)))
            if isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr):
                try:
                    if (verdict := decided(gold, answer)) is not None:
                        return verdict
                except (TypeError, ValueError, OverflowError, AttributeError):
                    pass  # has no finite value there: math-verify decides
            return verify(
                gold,
                answer,
                numeric_precision=30,
                allow_set_relation_comp=True,
                timeout_seconds=None,
                raise_on_error=True,
            )
        except (MemoryError, RecursionError):
            return None
        except Exception:
            return False  # sympy cannot compare them: kinds that do not match

    return equal


if __name__ == "__main__":
    _serve()
