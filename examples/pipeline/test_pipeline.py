"""The modules of the pipeline, one after the other, as petctl runs them."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import analyse
import download
import process
import summary
from png import PngError, read_png, write_png


class Modules(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tmp = Path(folder.name)

    def folder(self, name: str) -> Path:
        path = self.tmp / name
        path.mkdir(parents=True)
        return path

    def through(self, place: str, day: str) -> dict:
        key = f"place={place}/date={day}"
        folders = [self.folder(f"{stage}/{key}") for stage in ("download", "process", "analyse")]
        code = run_quietly(download, place, day, folders[0])
        self.assertIn(code, (0, download.EXIT_NO_IMAGE))
        self.assertEqual(run_quietly(process, folders[0], folders[1]), 0)
        self.assertEqual(run_quietly(analyse, folders[1], folders[2]), 0)
        return json.loads((folders[2] / "result.json").read_text())

    def test_an_image_goes_through_and_is_summed_up(self):
        june = self.through("dunes", "2024-06-01")
        january = self.through("dunes", "2024-01-01")
        clouds = self.through("delta", "2024-02-01")
        self.assertEqual(clouds["verdict"], "skipped")
        self.assertLess(january["numbers"]["cover"], june["numbers"]["cover"])
        self.assertGreater(june["numbers"]["patches"], 3)
        output = self.folder("summary")
        self.assertEqual(run_quietly(summary, self.tmp, output), 0)
        found = json.loads((output / "results_summary.json").read_text())["places"]
        self.assertEqual(found["dunes"]["greenest"], "2024-06-01")
        self.assertEqual(found["delta"]["missing"], ["2024-02-01"])
        self.assertEqual(read_png(output / "cover-dunes.png")[0], 2 * summary.BAR)

    def test_the_same_image_has_the_same_bytes(self):
        first, second = self.folder("one"), self.folder("two")
        for output in (first, second):
            self.assertEqual(run_quietly(download, "steppe", "2024-03-01", output), 0)
        self.assertEqual((first / "image.png").read_bytes(), (second / "image.png").read_bytes())

    def test_patches_touch_at_a_side(self):
        rows = ("##....", "##....", "..####", "#.....")
        mask = bytes(255 if cell == "#" else 0 for row in rows for cell in row)
        self.assertEqual(analyse.patches(6, mask), [4, 4])

    def test_a_damaged_image_is_refused(self):
        file = self.tmp / "image.png"
        write_png(file, 2, bytes(12), 3)
        self.assertEqual(read_png(file), (2, bytes(12), 3))
        data = bytearray(file.read_bytes())
        data[30] ^= 1
        file.write_bytes(data)
        with self.assertRaises(PngError):
            read_png(file)

    def test_nothing_to_sum_up_is_an_error(self):
        self.folder("analyse")
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(run_quietly(summary, self.tmp, self.folder("summary")), 65)


def run_quietly(module, *arguments: object) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return module.main([str(argument) for argument in arguments])


if __name__ == "__main__":
    unittest.main()
