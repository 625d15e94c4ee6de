"""System calls that bubblewrap is to refuse: what name spaces leave open, and where the kernel had holes."""

import errno
import struct

# Numbers on x86_64 and aarch64. Keys are of the user, whatever the name space; the others are where holes were found.
REFUSED = {
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "ptrace": (101, 117)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "pidfd_getfd": (438, 438)},
    **{"unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41)},
    **{"open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442)},
    **{"sync": (162, 81), "syncfs": (306, 267), "vhangup": (153, 58), "acct": (163, 89), "quotactl": (179, 60)},
}
MODES = {"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)}
MODES |= {"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH of linux/audit.h
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
X32 = 0x40000000  # from here on, a second table of x86_64


def seccomp_filter(machine: str, with_modes: bool) -> bytes:
    """A classic BPF program (seccomp(2)) that refuses these calls, and all calls of another architecture.

    Args:
        machine: of os.uname().
        with_modes: refuse changes of modes and owners too: of root, who owns the device nodes that are shown.

    Raises:
        KeyError: the machine is not known.
    """
    column, architecture = MACHINES[machine]
    calls = [numbers[column] for numbers in (REFUSED | (MODES if with_modes else {})).values()]
    calls = [number for number in calls if number is not None]
    last = len(calls) + 5  # the instruction that refuses; jumps count from the next one
    program = [(LOAD, 0, 0, 4), (EQUAL, 0, last - 2, architecture), (LOAD, 0, 0, 0), (AT_LEAST, last - 4, 0, X32)]
    program += [(EQUAL, last - 5 - place, 0, number) for place, number in enumerate(calls)]
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
