"""Write a small scenario file anew from a recording in CommonRoad XML.

    python3 convert.py SOURCE OUT [--window-s START END] [--vehicles ID ...]
    python3 convert.py --all SOURCE_DIR OUT_DIR

The second form writes every drive of drives.toml, the same bytes each time. What is
written is CommonRoad XML in the shape of format 2020a, cut down to the facts that a
re-simulation needs: the posted speed limit, and each vehicle's type, size and timed
states. Lengths are rounded to 1 cm, angles to 0.001 rad, speeds to 1 cm/s; times
count from the window's start. A vehicle with fewer than two states in the window is
dropped. Each file names the origin and licence of the recordings that drives.toml
draws on; for recordings from elsewhere, change NOTICE and LICENCE.
"""

import argparse
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from commonroad import CommonRoadError, Scenario, State, Vehicle, read_scenario

RECIPE = Path(__file__).with_name("drives.toml")
EXIT_BAD_DATA = 65
EXIT_NO_INPUT = 66

LICENCE = "BSD-3-Clause (CommonRoad/commonroad-io, Technical University of Munich)"
NOTICE = """<!--
  Written by petctl's examples/resim/convert.py; do not edit.
  Facts from: scenario {origin}, source "{source}".
  Taken from the test data of CommonRoad/commonroad-io, Technical University of
  Munich, licence BSD-3-Clause. NGSIM was recorded for the US Federal Highway
  Administration (FHWA).
-->"""


@dataclass(frozen=True)
class Cut:
    """What to keep of a recording: times [s], both ends included, and vehicles; None is all."""

    window_s: tuple[float, float] | None = None
    vehicle_ids: frozenset[str] | None = None


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.all:
            convert_all(options.source, options.out)
        else:
            window_s = tuple(options.window_s) if options.window_s else None
            ids = frozenset(options.vehicles) if options.vehicles else None
            convert(options.source, options.out, Cut(window_s, ids))
    except CommonRoadError as error:
        print(f"convert: {error}", file=sys.stderr)
        return EXIT_BAD_DATA
    except OSError as error:
        print(f"convert: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_NO_INPUT
    return 0


def convert_all(source_dir: Path, out_dir: Path, recipe: Path = RECIPE) -> None:
    """Write each drive of the recipe to `out_dir`."""
    for drive in tomllib.loads(recipe.read_text(encoding="utf-8"))["drive"]:
        window_s = tuple(drive["window_s"]) if "window_s" in drive else None
        ids = frozenset(str(i) for i in drive["vehicles"]) if "vehicles" in drive else None
        convert(source_dir / drive["source"], out_dir / drive["name"], Cut(window_s, ids))


def convert(source: Path, out: Path, cut: Cut) -> None:
    """Read `source` and write what `cut` keeps of it to the file `out`."""
    try:
        scenario = cut_out(read_scenario(source), cut)
    except CommonRoadError as error:
        raise CommonRoadError(f"{source}: {error}") from error
    text = to_xml(replace(scenario, benchmark_id=out.stem), origin=source.stem)
    out.write_text(text, encoding="utf-8", newline="\n")


def cut_out(scenario: Scenario, cut: Cut) -> Scenario:
    """The scenario, less what the cut leaves out; its first step becomes step 0."""
    known_ids = {vehicle.vehicle_id for vehicle in scenario.vehicles}
    if cut.vehicle_ids is not None and not cut.vehicle_ids <= known_ids:
        raise CommonRoadError(f"no vehicle {', '.join(sorted(cut.vehicle_ids - known_ids))}")
    chosen = [
        _cut_vehicle(vehicle, cut.window_s, scenario.time_step_s)
        for vehicle in scenario.vehicles
        if cut.vehicle_ids is None or vehicle.vehicle_id in cut.vehicle_ids
    ]
    kept = tuple(vehicle for vehicle in chosen if vehicle.parked or len(vehicle.states) > 1)
    if not kept:
        raise CommonRoadError("no vehicle is recorded in the window")
    return replace(scenario, vehicles=kept)


def to_xml(scenario: Scenario, origin: str) -> str:
    """The scenario as CommonRoad XML, one state to a line."""
    root = {
        "commonRoadVersion": "2020a",
        "benchmarkID": scenario.benchmark_id,
        "timeStepSize": f"{scenario.time_step_s:g}",
        "source": scenario.source,
        "author": "petctl, examples/resim/convert.py",
        "licence": LICENCE,
    }
    attributes = "\n  ".join(f"{name}={quoteattr(value)}" for name, value in root.items())
    lines = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        NOTICE.format(origin=_for_comment(origin), source=_for_comment(scenario.source)),
        f"<commonRoad\n  {attributes}>",
    ]
    if scenario.speed_limit_mps is not None:
        lines.append(_speed_limit_sign(scenario.speed_limit_mps))
    for vehicle in scenario.vehicles:
        lines.extend(_obstacle(vehicle))
    lines.append("</commonRoad>")
    return "\n".join(lines) + "\n"


def _cut_vehicle(
    vehicle: Vehicle, window_s: tuple[float, float] | None, time_step_s: float
) -> Vehicle:
    if window_s is None or vehicle.parked:
        return vehicle
    first, last = (round(time_s / time_step_s) for time_s in window_s)
    states = [s for s in vehicle.states if first <= s.step <= last]
    return replace(vehicle, states=tuple(replace(s, step=s.step - first) for s in states))


def _speed_limit_sign(limit_mps: float) -> str:
    return (
        '<trafficSign id="1"><trafficSignElement><trafficSignID>R2-1</trafficSignID>'
        f"<additionalValue>{_fixed(limit_mps, 2)}</additionalValue>"
        "</trafficSignElement></trafficSign>"
    )


def _obstacle(vehicle: Vehicle) -> list[str]:
    tag = "staticObstacle" if vehicle.parked else "dynamicObstacle"
    length, width = _fixed(vehicle.length_m, 2), _fixed(vehicle.width_m, 2)
    lines = [
        f"<{tag} id={quoteattr(vehicle.vehicle_id)}><type>{escape(vehicle.kind)}</type>",
        f"<shape><rectangle><length>{length}</length><width>{width}</width></rectangle></shape>",
        _state("initialState", vehicle.states[0]),
    ]
    if not vehicle.parked:
        lines.append("<trajectory>")
        lines.extend(_state("state", state) for state in vehicle.states[1:])
        lines.append("</trajectory>")
    return [*lines, f"</{tag}>"]


def _state(tag: str, state: State) -> str:
    return (
        f"<{tag}><position><point><x>{_fixed(state.x_m, 2)}</x><y>{_fixed(state.y_m, 2)}</y>"
        f"</point></position><orientation><exact>{_fixed(state.heading_rad, 3)}</exact>"
        f"</orientation><time><exact>{state.step}</exact></time>"
        f"<velocity><exact>{_fixed(state.speed_mps, 2)}</exact></velocity></{tag}>"
    )


def _for_comment(text: str) -> str:
    """Two hyphens would end an XML comment."""
    return text.replace("-", "\u2010") if "--" in text else text


def _fixed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write small scenario files from recordings.")
    parser.add_argument("source", type=Path, help="a recording; with --all, their folder")
    parser.add_argument("out", type=Path, help="the file to write; with --all, a folder")
    parser.add_argument("--all", action="store_true", help="write all drives of drives.toml")
    parser.add_argument("--window-s", type=float, nargs=2, metavar=("START", "END"))
    parser.add_argument("--vehicles", nargs="+", metavar="ID")
    return parser


if __name__ == "__main__":
    sys.exit(main())
