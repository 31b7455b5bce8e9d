"""torchrun's contract, held up to the environment of a rank."""

import os

NUMBERS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "MASTER_PORT",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS",
)
TEXTS = (
    "ROLE_NAME",
    "MASTER_ADDR",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_ERROR_FILE",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
)
# The same for all ranks of an epoch.
SHARED = (
    "WORLD_SIZE",
    "GROUP_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS",
)


def check() -> dict[str, str]:
    """The whole of it; an AssertionError says what is wrong."""
    found = {name: os.environ[name] for name in (*NUMBERS, *TEXTS)}
    number = {name: int(found[name]) for name in NUMBERS}
    assert all(value >= 0 for value in number.values()), found
    assert number["RANK"] < number["WORLD_SIZE"], found
    assert number["LOCAL_RANK"] < number["LOCAL_WORLD_SIZE"] <= number["WORLD_SIZE"], found
    assert number["GROUP_RANK"] < number["GROUP_WORLD_SIZE"], found
    assert (number["ROLE_RANK"], number["ROLE_WORLD_SIZE"]) == (number["RANK"], number["WORLD_SIZE"]), found
    assert 0 < number["MASTER_PORT"] < 65536 and found["MASTER_ADDR"], found
    assert found["TORCHELASTIC_USE_AGENT_STORE"] == "False", found
    return found


def check_all(everyone: list[dict[str, str]]) -> None:
    """That the ranks agree, and that each of them is there once."""
    size = int(everyone[0]["WORLD_SIZE"])
    assert sorted(int(one["RANK"]) for one in everyone) == list(range(size)), everyone
    for name in SHARED:
        assert len({one[name] for one in everyone}) == 1, (name, everyone)
    places = [(int(one["GROUP_RANK"]), int(one["LOCAL_RANK"])) for one in everyone]
    # Ranks of one worker stand side by side, in its order.
    by_rank = [place for _, place in sorted(zip((int(one["RANK"]) for one in everyone), places))]
    assert by_rank == sorted(set(places)), everyone
    assert len({one["TORCHELASTIC_ERROR_FILE"] for one in everyone}) == size, everyone
