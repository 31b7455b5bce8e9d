"""The example's promises: the carried drives, the job file, the readers, the scripts.

The recordings that the drives were made from are no part of the project. Where they
are not at hand, the tests that need them are left out, unless CI=true.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import combine
import convert
import plot
import replay
import synthetic
from commonroad import CommonRoadError, read_scenario

HERE = Path(__file__).resolve().parent
DRIVES = sorted((HERE / "drives").glob("*.xml"))
RECORDINGS = HERE.parents[2] / "shared" / "data" / "commonroad"
RECORDED = (
    "ARG_Carcarana-4_5_T-1", "DEU_A9-3_1_T-1", "DEU_Starnberg-1_1_T-1", "FRA_Anglet-1_1_T-1",
    "USA_Lanker-1_1_T-1", "USA_Peach-4_8_T-1", "USA_US101-3_3_T-1", "USA_US101-4_1_T-1",
)  # fmt: skip
JOB = tomllib.loads((HERE / "job.toml").read_text(encoding="utf-8"))


class TempDirTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tmp = Path(folder.name)

    def folder(self, name: str) -> Path:
        path = self.tmp / name
        path.mkdir(parents=True)
        return path

    def require_recordings(self):
        if RECORDINGS.is_dir():
            return
        if os.environ.get("CI") == "true":
            self.fail("the recordings are not at ../shared/data/commonroad, and CI=true")
        print(f"\nleft out, for want of ../shared/data/commonroad: {self.id()}", file=sys.stderr)
        self.skipTest("no recordings")

    def assert_obeys_contract(self, result: dict):
        self.assertEqual(set(result), {"verdict", "reasons", "numbers"})
        self.assertIn(result["verdict"], ("pass", "fail", "skipped"))
        self.assertLessEqual(len(result["reasons"]), 16)
        for reason in result["reasons"]:
            self.assertIsInstance(reason, str)
            self.assertLessEqual(len(reason), 500)
        self.assertLessEqual(len(result["numbers"]), 64)
        for name, value in result["numbers"].items():
            self.assertRegex(name, r"\A[a-z][a-z0-9_]*\Z")
            self.assertTrue(value is None or math.isfinite(value), name)


class StageTest(TempDirTest):
    """Runs the commands of job.toml as petctl does."""

    def run_stage(self, stage: dict, **places: Path) -> subprocess.CompletedProcess:
        words = {f"param.{name}": str(value) for name, value in stage.get("params", {}).items()}
        words |= {name: str(path) for name, path in places.items()}
        command = [
            re.sub(r"\{([^}]*)\}", lambda match: words[match[1]], word)
            for word in stage["command"]
        ]
        command[0] = sys.executable
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=60)


class CarriedDrives(StageTest):
    def test_the_job_passes_on_every_drive(self):
        shards, once = JOB["stage"]
        matched = (HERE / JOB["storage"]["input"]).glob(shards["shards"]["glob"])
        self.assertEqual(sorted(matched), DRIVES)
        self.assertGreaterEqual(len(DRIVES), 6)
        for drive in DRIVES:
            output = self.folder(f"root/resim/{drive.name}")
            done = self.run_stage(shards, input=drive, output=output)
            self.assertEqual((done.returncode, done.stderr), (0, ""), drive.name)
            result = json.loads((output / "result.json").read_text())
            self.assert_obeys_contract(result)
            self.assertEqual(result["verdict"], "pass", (drive.name, result["reasons"]))
            self.assertGreaterEqual(result["numbers"]["vehicles"], 5, drive.name)
            self.assert_trace_matches(output / "trace.csv", result["numbers"])
        done = self.run_stage(once, output_root=self.tmp / "root", output=self.folder("summary"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith(f"{len(DRIVES)} drives: {len(DRIVES)} pass"))
        self.assertIn(done.stdout.strip(), (HERE / "README.md").read_text(encoding="utf-8"))

    def assert_trace_matches(self, trace: Path, numbers: dict):
        with trace.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        self.assertEqual(tuple(rows[0]), replay.TRACE_COLUMNS)
        self.assertEqual(len(rows), numbers["steps"])
        self.assertEqual(len({row["vehicle"] for row in rows}), numbers["vehicles"])
        hardest_mps2 = -min(float(row["a_mps2"]) for row in rows)
        self.assertAlmostEqual(hardest_mps2, numbers["max_decel_mps2"], places=2)

    def test_a_reckless_driver_is_found(self):
        drive = HERE / "drives" / "USA_US101-3_3_queue-end.xml"
        reckless = ["--time-gap-s", "0.1", "--comfort-decel-mps2", "90", "--min-gap-m", "0.1"]
        self.assertEqual(run_quietly(replay, drive, self.tmp, *reckless), 0)
        result = json.loads((self.tmp / "result.json").read_text())
        self.assert_obeys_contract(result)
        self.assertEqual(result["verdict"], "fail")
        self.assertTrue(result["numbers"]["collided"])
        self.assertRegex("\n".join(result["reasons"]), r"vehicle \d+ at \d\.\d s: hits vehicle \d+")

    def test_weak_brakes_excuse_nothing(self):
        drive = HERE / "drives" / "USA_US101-3_3_queue-end.xml"
        self.assertEqual(run_quietly(replay, drive, self.tmp, "--decel-limit-mps2", "1"), 0)
        result = json.loads((self.tmp / "result.json").read_text())
        self.assertGreater(result["numbers"]["collisions"], 0)

    def test_the_files_are_small_and_name_source_and_licence(self):
        for drive in DRIVES:
            text = drive.read_text(encoding="utf-8")
            self.assertLess(len(text), 200_000)
            for word in ("BSD-3-Clause", "Technical University of", "NGSIM", "CommonRoad"):
                self.assertIn(word, text)
        self.assertLess(sum(drive.stat().st_size for drive in DRIVES), 1_000_000)

    def test_they_equal_a_regeneration_from_the_recordings(self):
        self.require_recordings()
        self.assertEqual(convert.main(["--all", str(RECORDINGS), str(self.tmp)]), 0)
        for drive in DRIVES:
            self.assertEqual(drive.read_bytes(), (self.tmp / drive.name).read_bytes(), drive.name)
        self.assertEqual(len(list(self.tmp.iterdir())), len(DRIVES))


class WarmProcess(StageTest):
    """Runs the stages of azurite.toml as petctl does."""

    def test_it_replays_drive_after_drive_like_the_job_without_it(self):
        job = tomllib.loads((HERE / "azurite.toml").read_text(encoding="utf-8"))
        server, drawing, _ = job["stage"]
        wanted, requests = {}, []
        for number, drive in enumerate(DRIVES[:2]):
            output = self.folder(f"warm/{drive.name}")
            params = {name: str(value) for name, value in server["params"].items()}
            request = {"id": number, "key": drive.name, "input": str(drive), "params": params}
            requests.append(json.dumps(request | {"output": str(output)}))
            cold = self.folder(f"cold/{drive.name}")
            self.run_stage(JOB["stage"][0], input=drive, output=cold)
            wanted[output] = (cold / "result.json").read_bytes()
        done = subprocess.run(
            [sys.executable, *server["command"][1:]],
            cwd=HERE, input="\n".join(requests) + "\n", capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('@petctl {"id": 1, "ok": true}', done.stdout)
        for output, result in wanted.items():
            self.assertEqual((output / "result.json").read_bytes(), result)
            drawn = self.folder(f"drawn/{output.name}")
            self.assertEqual(run_quietly(plot, output, drawn), 0)
            self.assertTrue((drawn / "speeds.png").read_bytes().startswith(b"\x89PNG"))


class NothingToReplay(TempDirTest):
    def test_it_is_skipped_with_a_reason(self):
        brief = synthetic.driving("1", 0.0, 10.0, duration_s=1.0)
        for vehicles, reason in (
            ((), "nothing to replay: the recording has no moving vehicle"),
            ((brief,), "all 1 vehicles are left out (vehicle 1 is recorded for 1.0 s only)"),
        ):
            text = convert.to_xml(synthetic.scenario(*vehicles), origin="synthetic")
            (self.tmp / "in.xml").write_text(text, encoding="utf-8")
            self.assertEqual(run_quietly(replay, self.tmp / "in.xml", self.tmp), 0)
            result = json.loads((self.tmp / "result.json").read_text())
            self.assert_obeys_contract(result)
            self.assertEqual(result["verdict"], "skipped")
            self.assertIn(reason, result["reasons"][0])


class Recordings(TempDirTest):
    def test_all_eight_are_replayed(self):
        self.require_recordings()
        for name in RECORDED:
            output = self.folder(name)
            file = RECORDINGS / f"{name}.xml"
            self.assertEqual(run_quietly(replay, file, output), 0, name)
            result = json.loads((output / "result.json").read_text())
            self.assert_obeys_contract(result)
            nothing_moves = name == "DEU_Starnberg-1_1_T-1"
            self.assertEqual(result["verdict"] == "skipped", nothing_moves, name)
            self.assertEqual(result["numbers"]["vehicles"] == 0, nothing_moves, name)

    def test_speed_limits_are_read_from_lanelets_and_from_signs(self):
        self.require_recordings()
        limits_mps = [
            read_scenario(RECORDINGS / f"{name}.xml").speed_limit_mps
            for name in ("USA_Lanker-1_1_T-1", "USA_Peach-4_8_T-1", "USA_US101-3_3_T-1")
        ]
        self.assertEqual(limits_mps, [13.4112, 15.6464, None])


class Reader(TempDirTest):
    def state(self, tag: str, position: str, step: str, velocity: str = "") -> str:
        heading = "<intervalStart>0.1</intervalStart><intervalEnd>0.3</intervalEnd>"
        return (
            f"<{tag}><position>{position}</position><orientation>{heading}</orientation>"
            f"<time>{step}</time>{velocity}</{tag}>"
        )

    def test_uncertain_values_and_every_shape(self):
        point = "<point><x>1</x><y>2</y></point>"
        corners = "".join(
            f"<point><x>{x}</x><y>{y}</y></point>" for x, y in ((0, 0), (6, 0), (6, 2))
        )
        circle = "<circle><radius>1</radius><center><x>4</x><y>6</y></center></circle>"
        at_1 = "<intervalStart>1</intervalStart><intervalEnd>1</intervalEnd>"
        states = self.state("initialState", point, "<exact>0</exact>")
        states += f"<trajectory>{self.state('state', circle, at_1)}</trajectory>"
        file = self.tmp / "in.xml"
        file.write_text(
            '<commonRoad timeStepSize="0.5">'
            f'<obstacle id="7"><role>dynamic</role><type>car</type><shape><polygon>{corners}'
            f"</polygon></shape>{states}</obstacle>"
            '<dynamicObstacle id="8"><type>car</type><shape><circle><radius>0.5</radius></circle>'
            f"</shape>{self.state('initialState', point, '<exact>0</exact>')}<occupancySet/>"
            "</dynamicObstacle></commonRoad>"
        )
        read = read_scenario(file)
        self.assertEqual(read.unreadable, {"8": "has no trajectory"})
        (vehicle,) = read.vehicles
        self.assertEqual((vehicle.length_m, vehicle.width_m), (6.0, 2.0))
        first, last = vehicle.states
        self.assertEqual((last.x_m, last.y_m, last.step), (4.0, 6.0, 1))
        self.assertAlmostEqual(first.heading_rad, 0.2)
        # The missing velocity: 5 m within one step of 0.5 s.
        self.assertAlmostEqual(first.speed_mps, 10.0)

    def test_broken_files_are_told_apart(self):
        root = '<commonRoad timeStepSize="1">'
        cases = {
            "not well-formed": f"{root}<",
            "is <html>, not": "<html/>",
            "timeStepSize: None": "<commonRoad/>",
            "timeStepSize is 0.0": '<commonRoad timeStepSize="0"/>',
            "'1e300' is not a sensible number": '<commonRoad timeStepSize="1e300"/>',
            "timeStepSize: 'nan'": '<commonRoad timeStepSize="nan"/>',
            "has the role ''": f'{root}<obstacle id="1"/></commonRoad>',
            "has no <initialState>": f'{root}<staticObstacle id="1"/></commonRoad>',
            "is missing or not unique": f"{root}<staticObstacle/></commonRoad>",
        }
        file = self.tmp / "in.xml"
        for message, text in cases.items():
            file.write_text(text, encoding="utf-8")
            with self.assertRaisesRegex(CommonRoadError, message):
                read_scenario(file)

    def test_the_command_fails_with_one_line(self):
        (self.tmp / "broken.xml").write_text("<commonRoad")
        for name, code in (("broken.xml", 65), ("missing.xml", 66)):
            done = subprocess.run(
                [sys.executable, "replay.py", str(self.tmp / name), str(self.tmp)],
                cwd=HERE, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            self.assertEqual(done.returncode, code)
            self.assertRegex(done.stderr, rf"\Areplay: [^\n]*{name}: [^\n]+\n\Z")
            self.assertFalse((self.tmp / "result.json").exists())


class Converter(TempDirTest):
    def test_what_it_writes_reads_back_the_same(self):
        made = synthetic.scenario(
            synthetic.driving("1", 0.0, 10.0, duration_s=3.0), synthetic.parked("9", 50.0)
        )
        text = convert.to_xml(made, origin="a--b")
        self.assertEqual(text, convert.to_xml(made, origin="a--b"))
        (self.tmp / "synthetic.xml").write_text(text, encoding="utf-8")
        read = read_scenario(self.tmp / "synthetic.xml")
        self.assertEqual([v.vehicle_id for v in read.vehicles], ["1", "9"])
        for wrote, got in zip(made.vehicles, read.vehicles):
            self.assertEqual((wrote.kind, wrote.parked), (got.kind, got.parked))
            self.assertEqual([s.step for s in wrote.states], [s.step for s in got.states])
            for a, b in zip(wrote.states, got.states):
                self.assertAlmostEqual(a.x_m, b.x_m, delta=0.005)
                self.assertAlmostEqual(a.speed_mps, b.speed_mps, delta=0.005)

    def test_a_window_keeps_its_two_ends_and_starts_at_zero(self):
        made = synthetic.scenario(
            synthetic.driving("1", 0.0, 10.0, duration_s=3.0),
            synthetic.driving("2", 0.0, 10.0, duration_s=1.0),
        )
        cut = convert.cut_out(made, convert.Cut(window_s=(1.0, 2.0)))
        (vehicle,) = cut.vehicles  # 2 has but one state in the window
        self.assertEqual([s.step for s in vehicle.states], list(range(11)))
        self.assertAlmostEqual(vehicle.states[0].x_m, 10.0)
        with self.assertRaisesRegex(CommonRoadError, "no vehicle 5"):
            convert.cut_out(made, convert.Cut(vehicle_ids=frozenset({"1", "5"})))


class Combiner(TempDirTest):
    def put(self, drive: str, verdict: str, reasons: list[str], **numbers):
        folder = self.folder(f"root/resim/{drive}")
        (folder / "manifest.json").write_text("{}")
        result = {"verdict": verdict, "reasons": reasons, "numbers": numbers}
        (folder / "result.json").write_text(json.dumps(result))

    def summary(self, name: str) -> bytes:
        output = self.folder(name)
        self.assertEqual(run_quietly(combine, self.tmp / "root", output), 0)
        return (output / "summary.json").read_bytes()

    def test_worst_numbers_failures_and_the_same_bytes_each_time(self):
        self.put("b.xml", "fail", ["vehicle 1 hits 2"], min_ttc_s=0.0, collided=True, progress_m=9)
        self.put("deep/a.xml", "pass", [], min_ttc_s=2.5, collided=False, progress_m=7)
        self.put("c.xml", "skipped", ["nothing"], min_ttc_s=None, collided=False, progress_m=0)
        self.folder("root/resim/.petctl-attempts")
        first = self.summary("one")
        self.assertEqual(first, self.summary("two"))
        summary = json.loads(first)
        self.assertEqual(summary["verdict"], "fail")
        self.assertEqual(summary["verdicts"], {"pass": 1, "fail": 1, "skipped": 1})
        self.assertEqual(summary["worst"]["min_ttc_s"], {"value": 0.0, "drive": "b.xml"})
        self.assertEqual(summary["worst"]["collided"], {"value": True, "drive": "b.xml"})
        self.assertEqual(summary["worst"]["progress_m"], {"value": 7, "drive": "deep/a.xml"})
        self.assertEqual(summary["totals"], {"progress_m": 16})
        self.assertEqual(
            summary["failures"], [{"drive": "b.xml", "reasons": ["vehicle 1 hits 2"]}]
        )

    def test_a_missing_or_broken_result_is_an_error(self):
        stage = self.tmp / "root" / "resim"
        with self.assertRaisesRegex(combine.ResultError, "no folder"):
            combine.read_results(stage)
        self.put("a.xml", "pass", [])
        self.folder("root/resim/b.xml")
        with self.assertRaisesRegex(combine.ResultError, "b.xml: no result.json"):
            combine.read_results(stage)
        (stage / "b.xml" / "result.json").write_text('{"verdict": "pass"}')
        with self.assertRaisesRegex(combine.ResultError, "b.xml: result.json is broken"):
            combine.read_results(stage)


def run_quietly(script, *arguments: object) -> int:
    """The script's main, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return script.main([str(argument) for argument in arguments])


if __name__ == "__main__":
    unittest.main()
