"""Combine the results of all drives into one summary.

    python3 combine.py OUTPUT_ROOT OUTPUT [--stage resim]

Below OUTPUT_ROOT/STAGE each shard's outputs lie in a folder of the shard's name, with
petctl's `manifest.json`. Each needs a `result.json`. Writes OUTPUT/summary.json, the
same bytes for the same results. Exit status: 0 whatever the verdict, 65 if a result
is missing or no result.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

EXIT_BAD_DATA = 65
VERDICTS = ("pass", "fail", "skipped")
# Of a number min_* the lowest is the worst, of these the lowest too, of others the highest.
LESS_IS_WORSE = ("vehicles", "steps", "simulated_s", "progress_m", "recorded_progress_m")
# Numbers that say how much was driven, or how often something came about.
SUMMED = (
    *LESS_IS_WORSE,
    "vehicles_left_out", "collisions", "stop_lines_overrun",
    "unavoidable", "rear_ended", "forced_encounters",
)  # fmt: skip


class ResultError(ValueError):
    """A drive has no result, or one that is broken."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Combine the results of all drives.")
    parser.add_argument("output_root", type=Path, help="the job's output folder")
    parser.add_argument("output", type=Path, help="existing folder for summary.json")
    parser.add_argument("--stage", default="resim", help="the stage whose results to combine")
    options = parser.parse_args(arguments)
    try:
        summary = summarize(read_results(options.output_root / options.stage))
    except ResultError as error:
        print(f"combine: {error}", file=sys.stderr)
        return EXIT_BAD_DATA
    text = json.dumps(summary, indent=2, sort_keys=True, allow_nan=False)
    (options.output / "summary.json").write_text(text + "\n", encoding="utf-8")
    print(one_line(summary))
    return 0


def read_results(stage_dir: Path) -> dict[str, dict]:
    """The result of each drive, by the drive's name."""
    if not stage_dir.is_dir():
        raise ResultError(f"no folder {stage_dir}")
    folders = {folder.relative_to(stage_dir).as_posix(): folder for folder in _committed(stage_dir)}
    if not folders:
        raise ResultError(f"no drive in {stage_dir}")
    return {drive: _read_result(folders[drive], drive) for drive in sorted(folders)}


def summarize(results: dict[str, dict]) -> dict:
    """Counts, totals, the worst of each number with its drive, and each drive's numbers."""
    counts = {v: sum(r["verdict"] == v for r in results.values()) for v in VERDICTS}
    names = sorted({name for result in results.values() for name in result["numbers"]})
    return {
        "verdict": "fail" if counts["fail"] else "pass" if counts["pass"] else "skipped",
        "drives": len(results),
        "verdicts": counts,
        "totals": {name: _total(results, name) for name in names if name in SUMMED},
        "worst": {name: _worst(results, name) for name in names},
        "failures": _with_verdict(results, "fail"),
        "skipped": _with_verdict(results, "skipped"),
        "by_drive": {
            drive: {"verdict": result["verdict"], "numbers": result["numbers"]}
            for drive, result in results.items()
        },
    }


def one_line(summary: dict) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary["verdicts"].items())
    line = f"{summary['drives']} drives: {counts}"
    worst = summary["worst"].get("min_ttc_s")
    if worst is not None:
        line += f"; lowest time to collision {worst['value']} s in {worst['drive']}"
    return line


def _committed(folder: Path) -> Iterator[Path]:
    """The folders below this one that hold a shard's outputs; a shard's name may have slashes."""
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or child.name.startswith(".petctl"):
            continue
        holds_outputs = any((child / name).exists() for name in ("manifest.json", "result.json"))
        deeper = [] if holds_outputs else list(_committed(child))
        yield from deeper or [child]


def _read_result(folder: Path, drive: str) -> dict:
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if result["verdict"] not in VERDICTS:
            raise ResultError(f"{drive}: the verdict {result['verdict']!r} is none of {VERDICTS}")
        return {key: result[key] for key in ("verdict", "reasons", "numbers")}
    except FileNotFoundError as error:
        raise ResultError(f"{drive}: no result.json") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ResultError(f"{drive}: result.json is broken: {error!r}") from error


def _with_verdict(results: dict[str, dict], verdict: str) -> list[dict]:
    return [
        {"drive": drive, "reasons": result["reasons"]}
        for drive, result in results.items()
        if result["verdict"] == verdict
    ]


def _known(results: dict[str, dict], name: str) -> dict[str, float | bool]:
    """The number in each drive that was replayed and has a value for it."""
    return {
        drive: result["numbers"][name]
        for drive, result in results.items()
        if result["verdict"] != "skipped" and result["numbers"].get(name) is not None
    }


def _total(results: dict[str, dict], name: str) -> float:
    return round(sum(_known(results, name).values()), 3)


def _worst(results: dict[str, dict], name: str) -> dict | None:
    """The worst value and its drive, the first by name of several; None without a value."""
    known = _known(results, name)
    if not known:
        return None
    choose = min if name.startswith("min_") or name in LESS_IS_WORSE else max
    drive = choose(known, key=known.__getitem__)
    return {"value": known[drive], "drive": drive}


if __name__ == "__main__":
    sys.exit(main())
