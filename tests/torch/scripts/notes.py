"""Notes of scripts, one JSON object to a line, for the test to wait for."""

import json
import os
import time


def note(event: str, **fields: object) -> None:
    line = {"event": event, "pid": os.getpid(), "rank": int(os.environ.get("RANK", "-1"))}
    line |= {"epoch": int(os.environ.get("PETCTL_EPOCH", "0")), "at": time.time()} | fields
    # One write, so that lines of several ranks do not mix.
    fd = os.open(os.environ["EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
    finally:
        os.close(fd)
