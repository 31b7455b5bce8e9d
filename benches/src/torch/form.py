"""How long torchrun's rendezvous takes: AGENTS MIN MAX. All agents have PyTorch loaded when the clock starts.

Prints the seconds until the last agent has its rank."""

import multiprocessing
import os
import socket
import sys
import time

from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler


def agent(endpoint, low, high, ready, done, results):
    ready.wait()
    parameters = RendezvousParameters(
        backend="c10d", endpoint=endpoint, run_id="bench", min_nodes=low, max_nodes=high
    )
    handler = get_rendezvous_handler(parameters)
    info = handler.next_rendezvous()
    results.put((info.rank, time.monotonic()))
    # The store of the first one must live until all have theirs.
    done.wait()
    results.close()
    results.join_thread()
    os._exit(0)


def main():
    agents, low, high = (int(word) for word in sys.argv[1:])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    fork = multiprocessing.get_context("fork")
    ready, done, results = fork.Barrier(agents + 1), fork.Barrier(agents + 1), fork.Queue()
    for _ in range(agents):
        fork.Process(target=agent, args=(endpoint, low, high, ready, done, results), daemon=True).start()
    ready.wait()
    start = time.monotonic()
    found = [results.get() for _ in range(agents)]
    if sorted(rank for rank, _ in found) != list(range(agents)):
        sys.exit(f"WRONG: ranks {sorted(rank for rank, _ in found)}")
    print(max(at for _, at in found) - start, flush=True)
    done.wait()


main()
