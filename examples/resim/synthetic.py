"""Small made-up scenarios for the tests, whose outcome can be worked out by hand."""

from commonroad import Scenario, State, Vehicle
from replay import parse_options, replay_all
from simulate import Replay

TIME_STEP_S = 0.1
LENGTH_M = 4.0
WIDTH_M = 2.0


def driving(
    vehicle_id: str, x_m: float, speed_mps: float, duration_s: float, y_m: float = 0.0
) -> Vehicle:
    """A vehicle that drives east at a constant speed."""
    steps = range(round(duration_s / TIME_STEP_S) + 1)
    states = [State(k, x_m + speed_mps * TIME_STEP_S * k, y_m, 0.0, speed_mps) for k in steps]
    return vehicle(vehicle_id, states)


def braking(vehicle_id: str, speed_mps: float, decel_mps2: float, waits_s: float) -> Vehicle:
    """A vehicle that brakes from x = 0 to a stop, where it is recorded for `waits_s` more."""
    stop_s = speed_mps / decel_mps2
    states = []
    for k in range(round((stop_s + waits_s) / TIME_STEP_S) + 1):
        t_s = min(k * TIME_STEP_S, stop_s)
        x_m = speed_mps * t_s - decel_mps2 * t_s**2 / 2
        states.append(State(k, x_m, 0.0, 0.0, speed_mps - decel_mps2 * t_s))
    return vehicle(vehicle_id, states)


def cutting_in(vehicle_id: str, x_m: float, at_s: float, duration_s: float) -> Vehicle:
    """A standing vehicle that is in the lane from `at_s` on, and well beside it before."""
    steps = range(round(duration_s / TIME_STEP_S) + 1)
    enters = round(at_s / TIME_STEP_S)
    states = [State(k, x_m, 0.0 if k >= enters else 9.0, 0.0, 0.0) for k in steps]
    return vehicle(vehicle_id, states)


def parked(vehicle_id: str, x_m: float) -> Vehicle:
    state = State(0, x_m, 0.0, 0.0, 0.0)
    return Vehicle(vehicle_id, "parkedVehicle", LENGTH_M, WIDTH_M, (state,), parked=True)


def vehicle(vehicle_id: str, states: list[State]) -> Vehicle:
    return Vehicle(vehicle_id, "car", LENGTH_M, WIDTH_M, tuple(states))


def scenario(*vehicles: Vehicle) -> Scenario:
    return Scenario("synthetic", "made up", TIME_STEP_S, None, vehicles)


def replay_one(vehicle_id: str, recorded: Scenario, *options: str) -> Replay:
    """The replay of one vehicle, with the options of replay.py."""
    replays, _ = replay_all(recorded, parse_options(["in.xml", ".", *options]))
    return next(r for r in replays if r.ego.vehicle_id == vehicle_id)
