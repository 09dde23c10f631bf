"""A network namespace of the bench's own: Janus passes over loopback, and a load test must not touch the machine's addresses.

Entered once, before anything is started; everything that this process starts afterwards lives in it.
"""

import ctypes
import os
import shutil
import subprocess

# Reserved for documentation (RFC 5737), so it can belong to nobody.
ADDRESS = "192.0.2.1"
_CLONE_NEWNET = 0x40000000  # sched.h
_COMMANDS = (
    "link set lo up",
    "link add bench0 type veth peer name bench1",
    f"addr add {ADDRESS}/24 dev bench0",
    "link set bench0 up",
    "link set bench1 up",
)


class NamespaceMissing(Exception):
    """This user or machine cannot make a namespace."""


def enter() -> None:
    """Moves this thread, and what it starts from now on, into a new namespace with loopback and ADDRESS."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NamespaceMissing(
            "bench: a network namespace needs root and `ip` (Debian: iproute2); use --only files or leave"
        )
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise NamespaceMissing(f"bench: unshare: {os.strerror(ctypes.get_errno())}")
    for command in _COMMANDS:
        subprocess.run(["ip", *command.split()], check=True)
