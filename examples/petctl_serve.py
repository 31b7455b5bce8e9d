"""Makes a script the warm process of a stage with `serve = true`. Copy this file; it needs nothing but Python 3.8.

    from petctl_serve import serve

    model = load()                       # once, before the first shard

    def replay(shard):                   # once for each shard
        drive = read(shard.input)
        write(os.path.join(shard.output, "metrics.json"), model.run(drive, shard.params))

    serve(replay)

An exception fails its shard and the process goes on with the next one; petctl tries the shard again as often as
`retries` says. `raise Refuse("...")` fails it for good. What is printed goes to the log of the shard.

The protocol is in docs/serve.md. By hand: echo '{"id": 1, "key": "a", "output": "/tmp/a"}' | python3 my_server.py
"""

import json
import os
import sys
import traceback
from dataclasses import dataclass, field, fields
from typing import Callable, Dict, List, Optional

__all__ = ["Refuse", "Shard", "serve"]


class Refuse(Exception):
    """The shard has failed, and would fail again."""


@dataclass(frozen=True)
class Shard:
    """What is known of one shard. Paths are of this machine."""

    key: str
    # The folder to write to; committed as a whole when the function returns.
    output: str
    # The first of the input files; None where the shard has none.
    input: Optional[str] = None
    inputs: List[str] = field(default_factory=list)
    # The stage's parameters and the shard's own, as texts.
    params: Dict[str, str] = field(default_factory=dict)
    index: int = 0
    # 1 for the first.
    attempt: int = 1
    # Bytes of the inputs, where the manifest says so.
    size: Optional[int] = None
    job: str = ""
    stage: str = ""


def serve(function: Callable[[Shard], object]) -> None:
    """Says that the process is ready, and calls the function for each shard until there is none left."""
    requests, answers = _take_over()
    _say(answers, {"ready": True})
    for line in requests:
        request = json.loads(line)
        _say(answers, {"id": request["id"], **_run(function, request)})


def _run(function: Callable[[Shard], object], request: dict) -> dict:
    known = {f.name for f in fields(Shard)}
    try:
        function(Shard(**{name: value for name, value in request.items() if name in known}))
        return {"ok": True}
    except Exception as error:
        traceback.print_exc()
        last_line = traceback.format_exception_only(type(error), error)[-1].strip()
        if isinstance(error, Refuse):
            return {"ok": False, "message": str(error), "retry": False}
        return {"ok": False, "message": last_line, "retry": True}


def _say(answers, message: dict) -> None:
    # What was printed for a shard comes before its answer.
    sys.stdout.flush()
    sys.stderr.flush()
    answers.write("@petctl " + json.dumps(message) + "\n")
    answers.flush()


def _take_over():
    """Keeps both pipes to petctl to itself: whatever else reads or prints can't get between the lines."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout.flush()
    os.dup2(2, 1)
    return requests, answers
