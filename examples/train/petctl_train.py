"""Tells petctl how a training gets on, in one line each. Copy this file; it needs nothing but Python 3.8.

    import petctl_train

    start = petctl_train.resume_from()      # path of the checkpoint to go on from, or None
    ...
    petctl_train.progress(step)             # shown by `petctl status`; a group without progress is found to hang
    ...
    petctl_train.checkpoint(step, path)     # path is complete: the next epoch may go on from it

Under plain torchrun, or alone, all of it does nothing. Nothing here raises because petctl is away.
"""

import json
import os
import socket
import sys
import threading
from typing import Optional, Union

__all__ = ["checkpoint", "progress", "resume_from", "resume_step"]

SOCKET = "PETCTL_AGENT_SOCKET"
PROGRESS_TIMEOUT_S = 2.0

Path = Union[str, "os.PathLike[str]"]

_lock = threading.Lock()
# Of progress, with the process that opened it: a fork must not use its parent's.
_connection: Optional[socket.socket] = None
_owner = 0


def resume_from() -> Optional[str]:
    """The newest complete checkpoint that was there when this epoch began; None: start from nothing."""
    return os.environ.get("PETCTL_RESUME_FROM") or None


def resume_step() -> int:
    """The step of that checkpoint; 0 where there is none."""
    return int(os.environ.get("PETCTL_RESUME_STEP") or 0)


def checkpoint(step: int, path: Path, timeout_s: float = 10.0) -> bool:
    """Says that the file or folder is a complete checkpoint. True once petctl remembers it for good.

    Waits for that, but no longer than the timeout: petctl then goes on trying by itself.
    """
    if not os.environ.get(SOCKET):
        return False
    said = {"checkpoint": {"step": int(step), "path": os.path.abspath(os.fspath(path))}}
    try:
        with _connect(timeout_s) as connection:
            answer = _ask(connection, said)
    except socket.timeout:
        return _note(f"checkpoint of step {step} is not confirmed yet; petctl goes on trying")
    except (OSError, ValueError) as error:
        return _note(f"checkpoint of step {step} could not be said to petctl: {error}")
    if answer.get("ok"):
        return True
    error = answer.get("error") or {}
    return _note(f"checkpoint of step {step} is not recorded: {error.get('message')} ({error.get('code')})")


def progress(step: int, step_time_s: Optional[float] = None) -> None:
    """Says which step this rank has reached, and how long a step takes, if that is known better here."""
    global _connection, _owner
    if not os.environ.get(SOCKET):
        return
    said = {"rank": int(os.environ.get("RANK", 0)), "step": int(step)}
    if step_time_s is not None:
        said["step_time_s"] = float(step_time_s)
    with _lock:
        try:
            if _connection is None or _owner != os.getpid():
                _connection, _owner = _connect(PROGRESS_TIMEOUT_S), os.getpid()
            _ask(_connection, {"progress": said})
        except (OSError, ValueError):
            # The next one tries again.
            if _connection is not None:
                _connection.close()
            _connection = None


def _connect(timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(os.environ[SOCKET])
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, said: dict) -> dict:
    """Sends one line and reads one."""
    connection.sendall(json.dumps(said).encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            raise OSError("the worker has closed the connection")
        answer += part
    return json.loads(answer)


def _note(message: str) -> bool:
    print(f"petctl: {message}", file=sys.stderr, flush=True)
    return False
