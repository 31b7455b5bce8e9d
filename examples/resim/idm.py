"""The software under test: the Intelligent Driver Model (IDM), a car-following driver.

Treiber, Hennecke, Helbing: "Congested traffic states in empirical observations
and microscopic simulations", Physical Review E 62, 1805 (2000), equations (2), (3):

    dv/dt    = a * (1 - (v / v0)^delta - (s_star / s)^2)
    s_star   = s0 + max(0, v * T + v * dv / (2 * sqrt(a * b)))

with the speed v [m/s], the bumper-to-bumper gap s [m] to the vehicle ahead and
the closing speed dv = v - v_ahead [m/s]. The maximum keeps s_star from falling
below s0 behind a lead that drives away (Treiber, Kesting: "Traffic Flow
Dynamics", 2013, equation 11.15).
"""

import math
from dataclasses import dataclass

# A gap below this counts as this one, so that the model has a value at contact.
SMALLEST_GAP_M = 0.01


@dataclass(frozen=True)
class Driver:
    """Parameters of the model, in the paper's symbols, and the bound of the brakes.

    desired_speed_mps: v0, speed on a free road [m/s]
    time_gap_s: T, time kept to the vehicle ahead [s]
    min_gap_m: s0, gap kept at standstill [m]
    max_accel_mps2: a, acceleration from standstill on a free road [m/s^2]
    comfort_decel_mps2: b, deceleration that the driver finds comfortable [m/s^2]
    exponent: delta, how late the acceleration fades on the way to v0 [1]
    decel_limit_mps2: what the brakes can do; not in the paper [m/s^2]
    """

    desired_speed_mps: float
    time_gap_s: float
    min_gap_m: float
    max_accel_mps2: float
    comfort_decel_mps2: float
    exponent: float
    decel_limit_mps2: float

    def accel_mps2(
        self, speed_mps: float, gap_m: float | None, closing_mps: float = 0.0
    ) -> float:
        """Acceleration [m/s^2] behind a vehicle `gap_m` ahead; None is a free road."""
        share = 1.0 - (speed_mps / self.desired_speed_mps) ** self.exponent
        if gap_m is not None:
            desired_m = self.desired_gap_m(speed_mps, closing_mps)
            share -= (desired_m / max(gap_m, SMALLEST_GAP_M)) ** 2
        return max(self.max_accel_mps2 * share, -self.decel_limit_mps2)

    def desired_gap_m(self, speed_mps: float, closing_mps: float) -> float:
        """s_star [m]: the gap that the driver wants at this speed and closing speed."""
        braking_term = 2.0 * math.sqrt(self.max_accel_mps2 * self.comfort_decel_mps2)
        dynamic_m = speed_mps * self.time_gap_s + speed_mps * closing_mps / braking_term
        return self.min_gap_m + max(0.0, dynamic_m)


def advance(
    way_m: float, speed_mps: float, accel_mps2: float, duration_s: float
) -> tuple[float, float]:
    """Way and speed after `duration_s` of constant acceleration; nobody rolls backwards.

    The ballistic update of Treiber, Kanagaraj (Physica A 419, 183, 2015), which
    stops a vehicle within the step when its speed would fall below zero.
    """
    next_speed_mps = speed_mps + accel_mps2 * duration_s
    if next_speed_mps < 0.0:
        return way_m + speed_mps**2 / (-2.0 * accel_mps2), 0.0
    return way_m + (speed_mps + next_speed_mps) / 2.0 * duration_s, next_speed_mps
