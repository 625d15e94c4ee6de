"""Which of several servers with the same model is asked next, and which is left out for a while.

A call goes to the server with the fewest calls in flight. A server that fails several times in a row, while another
does not, is left out: one line says so. From time to time a single call tries it again, and its first answer brings it
back. The last one is never left out, so a single server is asked as if there were no such rules. Times are those of
`time.monotonic()`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

FAULTS_IN_A_ROW = 3  # after which a server is left out
TRY_AGAIN = 30.0  # seconds until one call tries a server that was left out


def hosts_of(addresses: Sequence[str]) -> list[str]:
    """What each address is called in messages and ledgers: its host and port, with the path where that is needed."""
    parts = [urlsplit(address) for address in addresses]
    hosts = [part.netloc.rpartition("@")[2] for part in parts]
    return [
        host + part.path if hosts.count(host) > 1 else host for host, part in zip(hosts, parts, strict=True)
    ]  # fmt: skip


@dataclass(eq=False)
class Server:
    """One address, and how it is doing."""

    url: str
    host: str  # without any key
    in_flight: int = 0
    given: int = 0  # calls sent to it so far
    faults: int = 0  # since its last answer, rate limits not among them
    limited: int = 0  # rate limits since its last answer
    resume_at: float = 0.0  # no call is sent before, for a rate limit
    try_at: float | None = None  # left out until then; None: it is in use

    @property
    def out(self) -> bool:
        return self.try_at is not None


class Servers:
    """The servers of one endpoint. What is known of them outlives a run of the engine."""

    def __init__(self, addresses: Sequence[str], say: Callable[[str], None] = lambda line: None) -> None:
        """
        Args:
            say: called with one line when a server is left out or comes back.
        """
        self.all = [Server(url, host) for url, host in zip(addresses, hosts_of(addresses), strict=True)]
        self.say = say

    @property
    def several(self) -> bool:
        return len(self.all) > 1

    @property
    def in_use(self) -> list[Server]:
        return [server for server in self.all if not server.out]

    def begin(self) -> None:
        """Forget what an earlier run left over, but not who is left out or paused."""
        for server in self.all:
            server.in_flight = server.faults = server.limited = 0

    def choose(self, now: float, most: int, avoid: Collection[Server] = ()) -> Server | None:
        """The server for the next attempt, or None when each is busy or paused.

        Args:
            most: calls in flight at one server.
            avoid: servers that have failed this call; another one is waited for if there is one.
        """
        due = [s for s in self.all if s.out and s.try_at <= now and s.resume_at <= now and not s.in_flight]
        if due:
            return due[0]
        ready = [s for s in self.in_use if s.resume_at <= now]
        ready = [s for s in ready if s not in avoid] or ready
        free = [s for s in ready if s.in_flight < most]
        return min(free, key=lambda s: (s.in_flight, s.given), default=None)

    def others(self, now: float, avoid: Collection[Server]) -> bool:
        """Whether a server could be asked at once that is not among those to avoid."""
        return any(s not in avoid and s.resume_at <= now for s in self.in_use)

    def wait(self, now: float) -> float:
        """Seconds until it makes sense to choose again, after `choose` gave None."""
        paused = [s.resume_at - now for s in self.in_use]
        return min(max(0.02, min(paused)), 1.0)

    def answered(self, server: Server) -> None:
        """Note an answer; a server that was left out is in use again."""
        server.faults = server.limited = 0
        if server.out:
            server.try_at = None
            self.say(f"{server.host}: answers again, so it is asked again")

    def failed(self, server: Server, now: float, fault: str) -> None:
        """Note a fault that was no rate limit; after several in a row the server may be left out."""
        server.faults += 1
        sound = [s for s in self.in_use if s is not server and s.faults < FAULTS_IN_A_ROW]
        if server.out:
            server.try_at = now + TRY_AGAIN
        elif server.faults >= FAULTS_IN_A_ROW and sound:
            self._leave_out(server, now + TRY_AGAIN, f"{server.faults} faults in a row ({fault})")

    def unreachable(self, server: Server, now: float, fault: str) -> None:
        """Leave out a server that cannot be reached, unless it is the last."""
        if not server.out and len(self.in_use) > 1:
            self._leave_out(server, now + TRY_AGAIN, f"cannot be reached ({fault})")

    def waits_too_long(self, server: Server, now: float, seconds: float) -> bool:
        """Leave out a server that asks to wait longer than we would; False if it is the last."""
        if not server.out and len(self.in_use) < 2:
            return False
        if not server.out:
            self._leave_out(server, now + seconds, f"asks to wait {seconds:.0f} s")
        server.try_at = now + seconds
        return True

    def _leave_out(self, server: Server, until: float, why: str) -> None:
        server.try_at = until
        left = ", ".join(s.host for s in self.in_use)
        self.say(f"{server.host}: {why}, so it is left out and tried again now and then; {left} will be asked instead")
