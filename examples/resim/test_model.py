"""The model, the closed loop and the verdict, against values worked out by hand."""

import unittest

import synthetic
from corridor import STOP_LINE
from idm import Driver, advance
from replay import parse_options, pass_marks
from verdict import Outcome, judge

DRIVER = Driver(
    desired_speed_mps=30.0,
    time_gap_s=1.5,
    min_gap_m=2.0,
    max_accel_mps2=1.0,
    comfort_decel_mps2=2.25,
    exponent=4.0,
    decel_limit_mps2=8.0,
)
NO_BRAKES = ("--decel-limit-mps2", "0.000001", "--desired-speed-mps", "10")


def outcome_of(vehicle_id: str, scenario, *options: str) -> Outcome:
    replay = synthetic.replay_one(vehicle_id, scenario, *options)
    return judge(replay, pass_marks(parse_options(["in.xml", ".", *options])))


class IntelligentDriverModel(unittest.TestCase):
    def test_free_road(self):
        # a (1 - (15 / 30)^4) = 1 - 1/16
        self.assertAlmostEqual(DRIVER.accel_mps2(15.0, None), 0.9375)
        self.assertAlmostEqual(DRIVER.accel_mps2(30.0, None), 0.0)

    def test_desired_gap(self):
        # 2 + 20 * 1.5 + 20 * 3 / (2 sqrt(1 * 2.25)) = 2 + 30 + 20
        self.assertAlmostEqual(DRIVER.desired_gap_m(20.0, 3.0), 52.0)
        # 2 + max(0, 30 - 20 * 10 / 3): a lead that drives away never shrinks it below s0.
        self.assertAlmostEqual(DRIVER.desired_gap_m(20.0, -10.0), 2.0)

    def test_following(self):
        # 1 - (20 / 30)^4 - (52 / 80)^2 = 1 - 16/81 - 0.4225
        self.assertAlmostEqual(DRIVER.accel_mps2(20.0, 80.0, 3.0), 0.5775 - 16 / 81)

    def test_equilibrium_gap(self):
        # (s0 + v T) / sqrt(1 - (v / v0)^4) at 15 m/s: 24.5 / sqrt(0.9375)
        self.assertAlmostEqual(DRIVER.accel_mps2(15.0, 24.5 / 0.9375**0.5), 0.0)

    def test_braking_is_bounded_even_at_contact(self):
        self.assertEqual(DRIVER.accel_mps2(20.0, 1.0, 20.0), -8.0)
        self.assertEqual(DRIVER.accel_mps2(20.0, -3.0, 20.0), -8.0)

    def test_a_vehicle_stops_and_does_not_roll_back(self):
        # From 1 m/s with 5 m/s^2: stands after 0.2 s and 0.1 m.
        way_m, speed_mps = advance(10.0, 1.0, -5.0, 0.5)
        self.assertAlmostEqual(way_m, 10.1)
        self.assertEqual(speed_mps, 0.0)


class ClosedLoop(unittest.TestCase):
    def test_stops_behind_a_standing_vehicle_at_the_minimum_gap(self):
        scenario = synthetic.scenario(
            synthetic.driving("1", 0.0, 10.0, duration_s=40.0), synthetic.parked("9", 100.0)
        )
        rows = synthetic.replay_one("1", scenario).drive.rows
        # From its front at 2 m to the rear at 98 m. s_star = 2 + 10 + 100 / (2 sqrt(3)).
        self.assertAlmostEqual(rows[0].gap_m, 96.0)
        self.assertAlmostEqual(rows[0].ttc_s, 9.6)
        share = 1 - (10 / 33.3) ** 4 - ((12 + 100 / 12**0.5) / 96) ** 2
        self.assertAlmostEqual(rows[0].accel_mps2, 1.5 * share)
        self.assertAlmostEqual(rows[-1].gap_m, 2.0, delta=0.15)
        self.assertAlmostEqual(rows[-1].speed_mps, 0.0, delta=0.01)
        self.assertEqual(outcome_of("1", scenario, "--pass-min-progress-share", "0.2").faults, [])

    def test_without_brakes_it_hits_the_standing_vehicle_when_it_must(self):
        scenario = synthetic.scenario(
            synthetic.driving("1", 0.0, 10.0, duration_s=12.0), synthetic.parked("9", 49.5)
        )
        outcome = outcome_of("1", scenario, *NO_BRAKES)
        # 45.5 m at 10 m/s, seen at the next step of 0.1 s.
        self.assertEqual(
            outcome.faults, ["vehicle 1 at 4.6 s: hits vehicle 9, closing at 10.0 m/s"]
        )
        self.assertTrue(outcome.collided)
        self.assertAlmostEqual(outcome.min_ttc_s, 0.0, places=3)

    def test_a_neighbour_lane_is_not_in_the_way(self):
        beside = synthetic.driving("9", 30.0, 1.0, 6.0, y_m=3.5)
        scenario = synthetic.scenario(synthetic.driving("1", 0.0, 10.0, 6.0), beside)
        rows = synthetic.replay_one("1", scenario).drive.rows
        self.assertTrue(all(row.lead is None for row in rows))

    def test_goes_straight_on_past_the_recording(self):
        scenario = synthetic.scenario(synthetic.driving("1", 0.0, 10.0, 6.0))
        replay = synthetic.replay_one("1", scenario)
        self.assertGreater(replay.progress_m, 65.0)
        x_m, y_m, heading_rad = replay.path.pose(replay.progress_m)
        self.assertAlmostEqual(x_m, replay.progress_m)
        self.assertAlmostEqual(y_m, 0.0)
        self.assertAlmostEqual(heading_rad, 0.0)

    def test_stops_where_the_recorded_vehicle_was_stopped_by_something_unseen(self):
        scenario = synthetic.scenario(synthetic.braking("1", 10.0, 2.0, waits_s=10.0))
        replay = synthetic.replay_one("1", scenario)
        last = replay.drive.rows[-1]
        self.assertEqual(last.lead.occupant_id, STOP_LINE)
        # The human stopped after 25 m with its front on the line, the driver s0 before it.
        self.assertAlmostEqual(last.way_m, 23.0, delta=0.15)
        outcome = outcome_of("1", scenario, *NO_BRAKES)
        self.assertTrue(outcome.overran_stop_line)
        # 25 m at 10 m/s, to be seen at that step or the next.
        self.assertRegex(outcome.faults[0], r"\Avehicle 1 at 2\.[56] s: drives over the stop line")


class Fairness(unittest.TestCase):
    def cut_in(self, x_m: float):
        return synthetic.scenario(
            synthetic.driving("1", 0.0, 20.0, duration_s=6.0),
            synthetic.cutting_in("9", x_m, at_s=1.0, duration_s=6.0),
        )

    def test_a_cut_in_too_close_for_any_brake_is_counted_and_excused(self):
        # 14 m of room at 20 m/s; the road allows a stop within 400 / 16 = 25 m.
        outcome = outcome_of("1", self.cut_in(x_m=20.0 + 4.0 + 14.0))
        self.assertTrue(outcome.unavoidable)
        self.assertFalse(outcome.collided)
        self.assertEqual(outcome.faults, [])

    def test_a_cut_in_that_leaves_room_is_the_drivers_to_handle(self):
        scenario = self.cut_in(x_m=20.0 + 4.0 + 60.0)
        self.assertFalse(outcome_of("1", scenario).collided)
        blind = outcome_of("1", scenario, "--decel-limit-mps2", "0.1")
        self.assertTrue(blind.collided)
        self.assertFalse(blind.unavoidable)
        self.assertIn("vehicle 1", blind.faults[0])
        self.assertIn("hits vehicle 9", blind.faults[0])

    def test_to_be_struck_from_behind_is_counted_and_excused(self):
        scenario = synthetic.scenario(
            synthetic.driving("1", 0.0, 10.0, 6.0), synthetic.driving("8", -30.0, 20.0, 6.0)
        )
        outcome = outcome_of("1", scenario)
        self.assertTrue(outcome.rear_ended)
        self.assertEqual(outcome.faults, [])

    def test_a_driver_who_hardly_drives_fails(self):
        scenario = synthetic.scenario(synthetic.driving("1", 0.0, 10.0, 6.0))
        faults = outcome_of("1", scenario, "--desired-speed-mps", "2").faults
        self.assertTrue(any("pass mark 50 %" in fault for fault in faults), faults)
        self.assertTrue(any("brakes with" in fault for fault in faults), faults)


if __name__ == "__main__":
    unittest.main()
