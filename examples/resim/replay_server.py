"""The warm process of `azurite.toml`: loaded once, then one drive after the other.

Replays like `replay.py`, whose options are the stage's parameters.
"""

import sys
from pathlib import Path

import replay

# In a project of your own, put petctl_serve.py beside your script.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from petctl_serve import Refuse, Shard, serve  # noqa: E402


def run(shard: Shard) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in sorted(shard.params.items())]
    code = replay.main([shard.input, shard.output, *options])
    if code:
        # A file that can't be read today can't be read tomorrow.
        raise Refuse(f"replay.py would have ended with {code}")


if __name__ == "__main__":
    serve(run)
