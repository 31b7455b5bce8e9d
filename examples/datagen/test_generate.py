"""The stand-in for the simulator, on the folder of this example."""

import contextlib
import io
import json
import shutil
import tempfile
import tomllib
import unittest
from pathlib import Path

import generate

HERE = Path(__file__).resolve().parent


class Generate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tmp = Path(folder.name)
        self.dataset = self.tmp / "dataset"
        shutil.copytree(HERE / "dataset", self.dataset)
        shutil.copytree(HERE / "roads", self.dataset / "assets" / "roads")

    def run_one(self, config: str, name: str = "out") -> int:
        output = self.tmp / name
        output.mkdir()
        arguments = [self.dataset / "sim_config" / config, self.dataset, output]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return generate.main([str(argument) for argument in arguments])

    def test_each_run_of_the_job_is_generated(self):
        job = tomllib.loads((HERE / "job.toml").read_text(encoding="utf-8"))
        runs = sorted(self.dataset.glob(job["stage"][0]["shards"]["glob"]))
        self.assertEqual(len(runs), 3)
        for run in runs:
            self.assertEqual(self.run_one(run.name, run.stem), 0)
            output = self.tmp / run.stem
            numbers = json.loads((output / "result.json").read_text())["numbers"]
            self.assertEqual(numbers["frames"], 10)
            self.assertEqual(len(list((output / "front").iterdir())), 10)
            self.assertEqual(len((output / "ego/poses.csv").read_text().splitlines()), 11)

    def test_the_same_run_has_the_same_bytes(self):
        for name in ("one", "two"):
            self.assertEqual(self.run_one("town.jsonc", name), 0)
        image = Path("front/000003.pgm")
        one, two = ((self.tmp / name / image).read_bytes() for name in ("one", "two"))
        self.assertEqual(one, two)

    def test_comments_and_commas_are_read_over(self):
        file = self.tmp / "a.jsonc"
        file.write_text('{"a": "// no, \\" comment", /* one */ "b": [1, 2, /* x */ ], // end\n}')
        self.assertEqual(generate.read_jsonc(file), {"a": '// no, " comment', "b": [1, 2]})

    def test_a_bad_configuration_is_told_apart(self):
        (self.dataset / "sim_config/bad.jsonc").write_text('{"map": "moon"}')
        self.assertEqual(self.run_one("bad.jsonc"), generate.EXIT_BAD_CONFIG)


if __name__ == "__main__":
    unittest.main()
