"""The line that a recorded vehicle drove, and where other vehicles are along it."""

import math
from bisect import bisect_right
from dataclasses import dataclass

from commonroad import State

# Points closer than this are measuring noise of a slow vehicle more than a direction.
POINT_SPACING_M = 1.0
# The direction in which a path goes on is that of a chord of this length.
END_CHORD_M = 5.0


@dataclass(frozen=True)
class Projection:
    """A position relative to a path: along it, left of it, and the path's direction there."""

    way_m: float
    left_m: float
    heading_rad: float


class DrivenPath:
    """A polyline through recorded positions, going on straight at both ends.

    `way_m` counts from the first recorded position; it is below zero on the line
    that leads there, and above `recorded_length_m` on the line that goes on from
    the last.
    """

    def __init__(self, points: list[tuple[float, float]], recorded_length_m: float):
        """See `from_states`; two points at least, neighbours differing."""
        self.recorded_length_m = recorded_length_m
        self._points = points
        chords = [(bx - ax, by - ay) for (ax, ay), (bx, by) in zip(points, points[1:])]
        self._lengths_m = [math.hypot(dx, dy) for dx, dy in chords]
        self._directions = [
            (dx / length_m, dy / length_m) for (dx, dy), length_m in zip(chords, self._lengths_m)
        ]
        self._starts_m = [0.0]
        for length_m in self._lengths_m[:-1]:
            self._starts_m.append(self._starts_m[-1] + length_m)

    @classmethod
    def from_states(cls, states: tuple[State, ...]) -> "DrivenPath | None":
        """The path of these states; None if they hardly move."""
        points = _thinned([(state.x_m, state.y_m) for state in states])
        if len(points) < 2:
            return None
        end = (states[-1].x_m, states[-1].y_m)
        length_m = sum(math.dist(a, b) for a, b in zip(points, [*points[1:], end]))
        return cls([*points, _point_beyond(points)], length_m)

    @property
    def turn_rad(self) -> float:
        """How far the direction at the recorded end is off that of the first metres."""
        start_rad = math.atan2(*reversed(_chord(self._points[:-1])))
        end_rad = math.atan2(*reversed(self._directions[-1]))
        return abs(math.remainder(end_rad - start_rad, math.tau))

    def pose(self, way_m: float) -> tuple[float, float, float]:
        """x_m, y_m and heading_rad at `way_m`."""
        index = max(bisect_right(self._starts_m, way_m) - 1, 0)
        (x_m, y_m), (ux, uy) = self._points[index], self._directions[index]
        along_m = way_m - self._starts_m[index]
        return x_m + along_m * ux, y_m + along_m * uy, math.atan2(uy, ux)

    def project(self, x_m: float, y_m: float) -> Projection:
        """The nearest place of the path."""
        last = len(self._directions) - 1
        best_m2, best = math.inf, (0, 0.0, 0.0)
        for index, ((ax, ay), (ux, uy)) in enumerate(zip(self._points, self._directions)):
            dx, dy = x_m - ax, y_m - ay
            along_m, left_m = dx * ux + dy * uy, ux * dy - uy * dx
            beyond_m = 0.0
            if along_m < 0.0 and index > 0:
                along_m, beyond_m = 0.0, along_m
            elif along_m > self._lengths_m[index] and index < last:
                along_m, beyond_m = self._lengths_m[index], along_m - self._lengths_m[index]
            distance_m2 = left_m * left_m + beyond_m * beyond_m
            if distance_m2 < best_m2:
                best_m2, best = distance_m2, (index, along_m, left_m)
        index, along_m, left_m = best
        ux, uy = self._directions[index]
        offset_m = math.copysign(math.sqrt(best_m2), left_m)
        return Projection(self._starts_m[index] + along_m, offset_m, math.atan2(uy, ux))


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points, less those within POINT_SPACING_M of the one kept before."""
    kept = points[:1]
    for point in points[1:]:
        if math.dist(point, kept[-1]) >= POINT_SPACING_M:
            kept.append(point)
    return kept


def _point_beyond(points: list[tuple[float, float]]) -> tuple[float, float]:
    """A point ahead of the last one, in the direction of the path's last metres."""
    dx, dy = _chord(points[::-1])
    scale = -POINT_SPACING_M / math.hypot(dx, dy)
    return points[-1][0] + scale * dx, points[-1][1] + scale * dy


def _chord(points: list[tuple[float, float]]) -> tuple[float, float]:
    """The way from the first point to the one that is END_CHORD_M off, or else to the last."""
    start = points[0]
    end = next((p for p in points if math.dist(start, p) >= END_CHORD_M), points[-1])
    return end[0] - start[0], end[1] - start[1]
