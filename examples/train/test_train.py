"""Tests of the training, with PyTorch."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import order  # noqa: E402


class Order(unittest.TestCase):
    def test_every_pass_uses_every_sample_once(self):
        seen = torch.cat([order.batch(step, 16, 40, seed=3) for step in range(5)])
        self.assertEqual(sorted(seen.tolist()), sorted([*range(40)] * 2))

    def test_a_step_has_the_same_batch_whenever_it_is_asked_for(self):
        first = order.batch(7, 16, 40, seed=3)
        order.batch(100, 16, 40, seed=3)
        self.assertTrue(torch.equal(first, order.batch(7, 16, 40, seed=3)))
        self.assertFalse(torch.equal(first, order.batch(8, 16, 40, seed=3)))

    def test_shares_are_even_and_together_the_whole(self):
        whole = order.batch(0, 64, 100, seed=3)
        for world_size in (1, 2, 3, 5, 64):
            parts = [order.share(whole, rank, world_size) for rank in range(world_size)]
            self.assertEqual(sorted(torch.cat(parts).tolist()), sorted(whole.tolist()))
            lengths = [len(part) for part in parts]
            self.assertLessEqual(max(lengths) - min(lengths), 1)

    def test_visits_are_told_from_the_number_of_steps(self):
        for steps in (0, 3, 5, 7):
            counts = torch.zeros(40, dtype=torch.int64)
            for step in range(steps):
                indices = order.batch(step, 16, 40, seed=3)
                counts.index_add_(0, indices, torch.ones_like(indices))
            bounds = (int(counts.min()), int(counts.max()))
            self.assertEqual(bounds, order.visits(steps, 16, 40))


class Training(unittest.TestCase):
    """Whole runs, each of a few seconds."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="petctl-train-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def command(self, out: str, steps: int, processes: int) -> list[str]:
        folder = self.folder / out
        script = [str(HERE / "train.py"), "--out", str(folder), "--checkpoints", str(folder / "c")]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        return [sys.executable, *(launcher if processes > 1 else []), *script, "--steps", str(steps)]

    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PETCTL_", "PET_"))}
        return clean | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def result(self, out: str) -> dict:
        return json.loads((self.folder / out / "result.json").read_text())

    def test_under_plain_torchrun_it_is_clearly_better_than_constant_velocity(self):
        done = subprocess.run(
            self.command("two", 1500, 2), env=self.environment(), capture_output=True, text=True, timeout=300
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        result = self.result("two")
        self.assertLess(result["validation_error_m"], 0.85 * result["baseline_error_m"], result)
        self.assertTrue(result["each_step_counted_once"], result)

    def test_stopped_in_the_middle_it_goes_on_to_the_same_result(self):
        whole = subprocess.run(self.command("whole", 600, 1), env=self.environment(), timeout=300)
        self.assertEqual(whole.returncode, 0)
        parts = self.folder / "parts"
        run = subprocess.Popen(self.command("parts", 600, 1), env=self.environment())
        try:
            while not list(parts.glob("c/step-*.pt")):
                self.assertIsNone(run.poll())
                time.sleep(0.01)
            run.send_signal(signal.SIGTERM)
            self.assertEqual(run.wait(60), -signal.SIGTERM)
        finally:
            run.kill()
        self.assertFalse((parts / "result.json").exists())
        stopped_at = max(int(path.stem.removeprefix("step-")) for path in parts.glob("c/step-*.pt"))
        self.assertLess(stopped_at, 600)
        # Another number of processes.
        again = subprocess.run(self.command("parts", 600, 2), env=self.environment(), timeout=300)
        self.assertEqual(again.returncode, 0)
        one, other = self.result("whole"), self.result("parts")
        self.assertTrue(other["each_step_counted_once"], other)
        self.assertEqual(one["optimizer_steps"], other["optimizer_steps"])
        self.assertAlmostEqual(one["validation_error_m"], other["validation_error_m"], delta=0.02)


if __name__ == "__main__":
    unittest.main()
