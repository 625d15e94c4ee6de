"""Start a command in sandlock and end with its exit status; at SIGTERM, or when our parent ends, kill all of it.

A program of its own, without our packages: python -ISB start_in_sandlock.py SITE_PACKAGES SPEC COMMAND...
"""

import ctypes
import json
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, CAPABILITY_VERSION_3 = 1, 36, 0x20080522
# What Landlock does not cover: modes, owners, times and attributes of any file that has a name or is open, other
# processes of this user, watching folders, message queues, limits, the clock.
DENIED = """
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat
setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat file_setattr
setpriority ioprio_set sched_setscheduler sched_setparam sched_setattr sched_setaffinity
setrlimit prlimit64 process_madvise migrate_pages move_pages pidfd_getfd kcmp
inotify_init inotify_init1 fanotify_init mq_open mq_unlink sync syncfs clock_settime settimeofday adjtimex clock_adjtime
"""


def main(packages: str, spec: str, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    given = json.loads(spec)
    if os.getppid() != given["parent"]:  # it ended before it was watched
        return
    header, nothing = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing):  # those of root: the clock, limits, files of others
        raise OSError(ctypes.get_errno(), "capset")
    sys.path.append(packages)
    from sandlock import Sandbox

    box = Sandbox(**given["box"], extra_deny_syscalls=DENIED.split())
    for name, value in given["rlimits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    process = box.popen(command)
    group = process.pid

    def kill(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    def wait() -> None:
        result = process.wait()
        kill()
        with suppress(OSError):  # daemons are our children by now
            while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                for pid in map(int, left):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        os._exit(result.exit_code if result.exit_code >= 0 else 128 + (result.signal if result.signal > 0 else 9))

    signal.signal(signal.SIGTERM, kill)
    threading.Thread(target=wait).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
