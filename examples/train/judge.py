"""The last stage: whether the training is any good, as petctl's result.json.

    python3 judge.py RESULT OUTPUT
"""

import argparse
import json
import sys
from pathlib import Path

# Share of the error at constant velocity that the trained network may have.
PASS_MARK = 0.85


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge a training.")
    parser.add_argument("result", type=Path, help="what train.py wrote")
    parser.add_argument("output", type=Path, help="folder for the verdict")
    options = parser.parse_args(arguments)
    verdict = judge(json.loads(options.result.read_text(encoding="utf-8")))
    text = json.dumps(verdict, indent=2) + "\n"
    (options.output / "result.json").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def judge(result: dict) -> dict:
    reasons = []
    error_m, baseline_m = result["validation_error_m"], result["baseline_error_m"]
    if not error_m <= PASS_MARK * baseline_m:
        reasons.append(f"{error_m} m of error, and constant velocity has {baseline_m} m")
    if not result["each_step_counted_once"]:
        reasons.append("a step was left out or counted twice")
    return {"verdict": "fail" if reasons else "pass", "reasons": reasons, "numbers": result}


if __name__ == "__main__":
    sys.exit(main())
