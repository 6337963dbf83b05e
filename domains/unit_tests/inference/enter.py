"""Runs inside new namespaces, before any untrusted code: makes a root of its own, drops all rights, and starts the
program. Started by `sandbox.py` as `python -I -S enter.py`, with the path of its orders, which are JSON; they hold the
tests, too, and a word of a command line may not be long. In a container only the limits are left to be set.

Standard library alone, and nothing of the suite: it runs where that cannot be seen.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PIVOT_ROOT, MOUNT_SETATTR = (155, 442) if os.uname().machine == "x86_64" else (41, 442)
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS = 1, 24, 28, 38
# No capabilities for whoever is root, now and after any execve; and that cannot be changed again.
SECURE = 0b1111 | 0b110000 | 0b11000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
DEVICES = ("null", "zero", "full", "random", "urandom")


class Attributes(ctypes.Structure):
    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("move", ctypes.c_uint64),
        ("ns", ctypes.c_uint64),
    ]


def checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    given = None if data is None else data.encode()
    checked(LIBC.mount(*words, ctypes.c_ulong(flags), given), f"mount {target}")


def bind(source: str, target: str, writable: bool) -> None:
    """Show a file or folder at `target`, with everything mounted below it; read-only unless `writable`."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, None, MS_BIND | MS_REC)
    wanted = Attributes(ATTR_NOSUID | ATTR_NODEV | (0 if writable else ATTR_RDONLY), 0, 0, 0)
    if source.startswith("/dev/"):
        wanted = Attributes(ATTR_NOSUID, 0, 0, 0)
    path, size = target.encode(), ctypes.sizeof(wanted)
    done = LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, path, AT_RECURSIVE, ctypes.byref(wanted), ctypes.c_size_t(size))
    checked(done, f"read-only {target}")


def build_root(orders: dict) -> None:
    """A root in memory with what the orders name and nothing else; the host's is let go."""
    root = orders["root"]
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, f"size={orders['disk']},nr_inodes=20000,mode=755")
    for source, target, writable in orders["binds"]:
        bind(source, root + target, writable)
    for source, target in orders["links"]:
        os.makedirs(os.path.dirname(root + target), exist_ok=True)
        os.symlink(source, root + target)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}", True)
    for name in ("tmp", "dev/shm", "proc"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    # Of its own processes alone; in some containers the kernel refuses, and then there is no /proc at all.
    with suppress(OSError):
        mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_RDONLY)
    for path, text in orders["files"]:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w") as file:
            file.write(text)
    for name in ("tmp", "dev/shm"):
        os.chmod(f"{root}/{name}", 0o1777)
    os.makedirs(f"{root}/old", exist_ok=True)
    os.chdir(root)
    checked(LIBC.syscall(PIVOT_ROOT, b".", b"old"), "pivot_root")
    os.chdir("/")
    checked(LIBC.umount2(b"/old", MNT_DETACH), "umount")
    os.rmdir("/old")


def raise_loopback() -> None:
    """Switch the loopback device of the new network on, which has no other."""
    request = struct.pack("16sH14x", b"lo", IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, request)


def limit(limits: dict) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (value, value))


def drop_rights(user: int | None) -> None:
    """Nobody's user where there is a choice, no capability, and none by any program that is run from here on."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
    checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    number = 0
    while LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    checked(LIBC.prctl(PR_SET_SECUREBITS, SECURE, 0, 0, 0), "securebits")
    if user is not None:
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked(LIBC.capset(header, nothing), "capset")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        orders = json.load(file)
    env = orders["env"]
    try:
        if orders["root"] is not None:
            if orders["loopback"]:
                raise_loopback()
            build_root(orders)
        else:  # a container has all that, and variables of its image; of proxies nobody needs to know
            env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | env
        os.chdir(orders["cwd"])
        limit(orders["limits"])
        if orders["root"] is not None:
            drop_rights(orders["user"])
    except OSError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(orders["broken"])
    # The first process of a namespace takes no signals; the program is its child, and ends with it.
    if orders["root"] is None:
        # The time that it took to make the container is not the program's; where this process ends all others do.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(orders["late"]))
        signal.setitimer(signal.ITIMER_REAL, orders["seconds"])
    child = os.fork()
    if child == 0:
        os.execvpe(orders["argv"][0], orders["argv"], env)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            # The program's own code says nothing of the sandbox or the time.
            os._exit(code if code not in (orders["broken"], orders["late"]) else 1)


if __name__ == "__main__":
    main()
