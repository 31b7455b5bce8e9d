"""Reader for recorded traffic in CommonRoad XML, formats 2018b and 2020a.

It takes in what a re-simulation of vehicles needs, and nothing else: the shapes
of the obstacles and their states in time, and the posted speed limit. An
uncertain value, written as an interval or as an area, is read as its middle.
The formats: https://commonroad.in.tum.de (Althoff, Koschi, Manzinger 2017,
"CommonRoad: Composable benchmarks for motion planning on roads").
"""

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

# Traffic signs that post a speed limit: Vienna convention's number and the USA's.
SPEED_LIMIT_SIGN_IDS = ("274", "R2-1")
LOWEST_SPEED_LIMIT_MPS = 1.0
# A number beyond this is no place, size, time or speed on earth, but a broken file.
LARGEST_NUMBER = 1e9


class CommonRoadError(ValueError):
    """The file is not a recording that this reader understands."""


@dataclass(frozen=True)
class State:
    """One timed state of the centre of a vehicle's box."""

    step: int
    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float


@dataclass(frozen=True)
class Vehicle:
    """An obstacle as recorded; `states` rise in time, a parked one has just one."""

    vehicle_id: str
    kind: str
    length_m: float
    width_m: float
    states: tuple[State, ...]
    parked: bool = False

    def states_by_step(self) -> dict[int, State]:
        return {state.step: state for state in self.states}


@dataclass(frozen=True)
class Scenario:
    """A recording; `unreadable` says why an obstacle is not among `vehicles`."""

    benchmark_id: str
    source: str
    time_step_s: float
    speed_limit_mps: float | None
    vehicles: tuple[Vehicle, ...]
    unreadable: dict[str, str] = field(default_factory=dict)


def read_scenario(path: Path) -> Scenario:
    """Read `path`; raises OSError or CommonRoadError."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise CommonRoadError(f"not well-formed XML: {error}") from error
    if root.tag != "commonRoad":
        raise CommonRoadError(f"root element is <{root.tag}>, not <commonRoad>")
    time_step_s = _number(root.get("timeStepSize"), "timeStepSize")
    if not 0.001 <= time_step_s <= 10:
        raise CommonRoadError(f"timeStepSize is {time_step_s}, not from 0.001 s to 10 s")
    vehicles, unreadable = _read_obstacles(root, time_step_s)
    return Scenario(
        benchmark_id=root.get("benchmarkID", path.stem),
        source=root.get("source", ""),
        time_step_s=time_step_s,
        speed_limit_mps=_speed_limit_mps(root),
        vehicles=tuple(vehicles),
        unreadable=unreadable,
    )


def _read_obstacles(root: ET.Element, time_step_s: float):
    vehicles: list[Vehicle] = []
    unreadable: dict[str, str] = {}
    seen_ids: set[str] = set()
    for element in root:
        role = _role(element)
        if role is None:
            continue
        obstacle_id = element.get("id")
        if obstacle_id is None or obstacle_id in seen_ids:
            raise CommonRoadError(f"obstacle id {obstacle_id!r} is missing or not unique")
        seen_ids.add(obstacle_id)
        if role == "dynamic" and element.find("trajectory") is None:
            unreadable[obstacle_id] = "has no trajectory"
        else:
            vehicles.append(_read_vehicle(element, obstacle_id, role, time_step_s))
    return vehicles, unreadable


def _role(element: ET.Element) -> str | None:
    """`dynamic` or `static` for an obstacle, None for any other element."""
    if element.tag == "obstacle":  # 2018b
        role = (element.findtext("role") or "").strip()
        if role not in ("dynamic", "static"):
            raise CommonRoadError(f"obstacle {element.get('id')} has the role {role!r}")
        return role
    return {"dynamicObstacle": "dynamic", "staticObstacle": "static"}.get(element.tag)


def _read_vehicle(
    element: ET.Element, obstacle_id: str, role: str, time_step_s: float
) -> Vehicle:
    where = f"obstacle {obstacle_id}"
    initial = _child(element, "initialState", where)
    length_m, width_m = _box(_child(element, "shape", where), where)
    rows = [_read_state(item, where) for item in [initial, *element.iterfind("trajectory/state")]]
    steps = [row[0] for row in rows]
    if any(later <= earlier for earlier, later in zip(steps, steps[1:])):
        raise CommonRoadError(f"{where}: the times of its states do not rise")
    speeds_mps = _speeds(rows, time_step_s)
    return Vehicle(
        vehicle_id=obstacle_id,
        kind=(element.findtext("type") or "unknown").strip(),
        length_m=length_m,
        width_m=width_m,
        states=tuple(
            State(step, x_m, y_m, heading_rad, speed_mps)
            for (step, x_m, y_m, heading_rad, _), speed_mps in zip(rows, speeds_mps)
        ),
        parked=role == "static",
    )


def _read_state(element: ET.Element, where: str):
    """The state as (step, x_m, y_m, heading_rad, speed_mps or None)."""
    x_m, y_m = _position(_child(element, "position", where), where)
    heading_rad = _value(_child(element, "orientation", where), f"{where}: orientation")
    step = round(_value(_child(element, "time", where), f"{where}: time"))
    velocity = element.find("velocity")
    speed_mps = None if velocity is None else _value(velocity, f"{where}: velocity")
    return step, x_m, y_m, heading_rad, speed_mps


def _speeds(rows: list, time_step_s: float) -> list[float]:
    """Recorded speeds; one that is missing is the way to the neighbour states over the time."""
    speeds_mps = []
    for index, (*_, speed_mps) in enumerate(rows):
        if speed_mps is None:
            before, after = rows[max(index - 1, 0)], rows[min(index + 1, len(rows) - 1)]
            way_m = math.dist(before[1:3], after[1:3])
            duration_s = (after[0] - before[0]) * time_step_s
            speed_mps = way_m / duration_s if duration_s > 0 else 0.0
        speeds_mps.append(speed_mps)
    return speeds_mps


def _position(element: ET.Element, where: str) -> tuple[float, float]:
    """Centre of the point, rectangle, circle or polygon that bounds the position."""
    for path in ("point", "rectangle/center", "circle/center"):
        found = element.find(path)
        if found is not None:
            return _point(found, where)
    corners = [_point(point, where) for point in element.iterfind("polygon/point")]
    if not corners:
        raise CommonRoadError(f"{where}: the position is no point, rectangle, circle or polygon")
    return _middle([x for x, _ in corners]), _middle([y for _, y in corners])


def _box(shape: ET.Element, where: str) -> tuple[float, float]:
    """Length and width in m of the shape; a circle's and a polygon's are their extents."""
    rectangle, circle = shape.find("rectangle"), shape.find("circle")
    if rectangle is not None:
        texts = {tag: rectangle.findtext(tag) for tag in ("length", "width")}
        sizes_m = [_number(text, f"{where}: {tag}") for tag, text in texts.items()]
    elif circle is not None:
        sizes_m = [2 * _number(circle.findtext("radius"), f"{where}: radius")] * 2
    else:
        corners = [_point(point, where) for point in shape.iterfind("polygon/point")]
        sizes_m = [max(axis) - min(axis) for axis in zip(*corners)]
    if len(sizes_m) != 2 or min(sizes_m) <= 0:
        raise CommonRoadError(f"{where}: the shape is no rectangle, circle or polygon with an area")
    return sizes_m[0], sizes_m[1]


def _speed_limit_mps(root: ET.Element) -> float | None:
    """The highest limit posted at the site: on a lanelet (2018b) or on a sign (2020a)."""
    texts = [element.text for element in root.iterfind("lanelet/speedLimit")]
    for sign in root.iterfind("trafficSign/trafficSignElement"):
        if (sign.findtext("trafficSignID") or "").strip() in SPEED_LIMIT_SIGN_IDS:
            texts.extend(value.text for value in sign.iterfind("additionalValue"))
    limits_mps = [_number(text, "speed limit") for text in texts]
    if any(limit_mps < LOWEST_SPEED_LIMIT_MPS for limit_mps in limits_mps):
        raise CommonRoadError(f"a speed limit is below {LOWEST_SPEED_LIMIT_MPS:g} m/s")
    return max(limits_mps, default=None)


def _child(element: ET.Element, tag: str, where: str) -> ET.Element:
    child = element.find(tag)
    if child is None:
        raise CommonRoadError(f"{where}: <{element.tag}> has no <{tag}>")
    return child


def _value(element: ET.Element, where: str) -> float:
    """An exact value, or the middle of its interval."""
    if element.find("exact") is not None:
        return _number(element.findtext("exact"), where)
    ends = ("intervalStart", "intervalEnd")
    return _middle([_number(element.findtext(end), where) for end in ends])


def _point(element: ET.Element, where: str) -> tuple[float, float]:
    x_m, y_m = (_number(element.findtext(axis), f"{where}: {axis}") for axis in ("x", "y"))
    return x_m, y_m


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST_NUMBER:
        raise CommonRoadError(f"{where}: {text!r} is not a sensible number")
    return value


def _middle(values: list[float]) -> float:
    return (min(values) + max(values)) / 2
