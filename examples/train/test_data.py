"""Tests of the data set, without PyTorch."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import judge  # noqa: E402
import prepare  # noqa: E402
import tracks  # noqa: E402
from tracks import State, make_samples, read_tracks, split  # noqa: E402


def driving(speed_mps: float, steps: int, *, y_m: float = 0.0, from_m: float = 0.0):
    return {
        step: State(from_m + speed_mps * step / 10, y_m, 0.0, speed_mps, 4.0) for step in range(steps)
    }


class DataSet(unittest.TestCase):
    def test_the_carried_file_is_what_prepare_writes(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "tracks.csv"
            prepare.main([str(HERE.parent / "resim" / "drives"), str(out)])
            self.assertEqual(out.read_bytes(), (HERE / "tracks.csv").read_bytes())

    def test_windows_of_one_recording_are_put_together_without_a_gap(self):
        jam = {k: v for k, v in read_tracks(HERE / "tracks.csv").items() if "US101-4" in k[0]}
        self.assertEqual(len(jam), 22)
        for vehicle, states in jam.items():
            steps = sorted(states)
            self.assertEqual(steps, list(range(steps[0], steps[-1] + 1)), vehicle)
            for step in steps[1:]:
                moved_m = abs(states[step].x_m - states[step - 1].x_m)
                self.assertLess(moved_m, 3.0, (vehicle, step))

    def test_no_vehicle_is_in_both_parts_and_every_recording_is_in_each(self):
        samples = make_samples(read_tracks(HERE / "tracks.csv"))
        training, validation = split(samples)
        self.assertEqual(len(training) + len(validation), len(samples))
        names = [{sample.vehicle for sample in part} for part in (training, validation)]
        self.assertFalse(names[0] & names[1])
        self.assertEqual({name[0] for name in names[0]}, {name[0] for name in names[1]})
        self.assertGreater(len(validation), len(samples) / 8)


class Samples(unittest.TestCase):
    def test_constant_velocity_is_its_own_baseline(self):
        (sample,) = make_samples({("r", "1"): driving(10.0, 31)})
        self.assertAlmostEqual(sample.target_m[0], 20.0)
        self.assertEqual(sample.baseline_m, (20.0, 0.0))
        self.assertEqual(len(sample.features), tracks.FEATURES)
        for number in sample.features[:20]:
            self.assertAlmostEqual(number, 0.0)

    def test_what_comes_after_now_is_not_in_the_features(self):
        states = driving(10.0, 31)
        (before,) = make_samples({("r", "1"): states})
        changed = {step: s if step <= 10 else State(0, 0, 0, 0, 4.0) for step, s in states.items()}
        (after,) = make_samples({("r", "1"): changed})
        self.assertEqual(before.features, after.features)
        self.assertNotEqual(before.target_m, after.target_m)

    def test_where_and_whither_a_vehicle_drives_makes_no_difference(self):
        turned = {
            step: State(5 - s.y_m, 7 + s.x_m, s.heading_rad + 1.5707963267948966, s.speed_mps, 4.0)
            for step, s in driving(8.0, 31).items()
        }
        (a,), (b,) = make_samples({("r", "1"): driving(8.0, 31)}), make_samples({("r", "1"): turned})
        for one, other in zip((*a.features, *a.target_m), (*b.features, *b.target_m)):
            self.assertAlmostEqual(one, other)

    def test_the_vehicle_ahead_is_seen_and_the_one_beside_is_not(self):
        own = driving(10.0, 31)
        ahead, beside = driving(5.0, 31, from_m=30.0), driving(5.0, 31, from_m=10.0, y_m=3.5)
        found = make_samples({("r", "1"): own, ("r", "2"): ahead, ("r", "3"): beside})
        (sample,) = (s for s in found if s.vehicle == ("r", "1"))
        seen, gap, faster = sample.features[-6:-3]
        self.assertEqual((seen, faster), (1.0, -1.0))
        self.assertAlmostEqual(gap * 20, 30.0 - 5.0 - 4.0)


class Judge(unittest.TestCase):
    RESULT = {"validation_error_m": 1.7, "baseline_error_m": 2.2, "each_step_counted_once": True}

    def test_a_good_training_passes_and_the_numbers_are_kept(self):
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "in.json"
            result.write_text(json.dumps(self.RESULT))
            self.assertEqual(judge.main([str(result), folder]), 0)
            written = json.loads((Path(folder) / "result.json").read_text())
        self.assertEqual(written, {"verdict": "pass", "reasons": [], "numbers": self.RESULT})

    def test_one_no_better_than_constant_velocity_or_miscounted_fails(self):
        for change in (
            {"validation_error_m": 2.1},
            {"validation_error_m": float("nan")},
            {"each_step_counted_once": False},
        ):
            self.assertEqual(judge.judge(self.RESULT | change)["verdict"], "fail", change)


if __name__ == "__main__":
    unittest.main()
