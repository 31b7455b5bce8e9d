"""examples/train as its README says, undisturbed and with kills all the while."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

from world import ROOT, Background, WorldTest, wait_for

EXAMPLE = ROOT / "examples" / "train"
KILLS = 4
SHORT = ["--set", "stage.fit.params.steps=1000"]


class Example(WorldTest):
    def setUp(self):
        super().setUp()
        left_out = shutil.ignore_patterns("out", "__pycache__")
        shutil.copytree(EXAMPLE, self.job, dirs_exist_ok=True, ignore=left_out)

    def result(self) -> dict:
        return json.loads((self.job / "out" / "fit" / "result.json").read_text())

    def status(self) -> dict:
        found = self.start("status", "train", "-o", "json")
        found.wait()
        try:
            return json.loads(found.stdout())
        except json.JSONDecodeError:
            return {}

    def ranks(self) -> list[int]:
        """Processes that train."""
        found = []
        for pid in self.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"train.py" in words and any(entry.startswith(b"RANK=") for entry in environment):
                found.append(pid)
        return found

    def test_kills_all_the_while_change_neither_the_steps_nor_the_result(self):
        self.start("run", "job.toml", *SHORT).ends(0)
        calm = self.result()
        self.assertTrue(calm["each_step_counted_once"], calm)
        self.assertLess(calm["validation_error_m"], 0.85 * calm["baseline_error_m"])
        self.finish()

        budgets = ["--set", "stage.fit.max_restarts=100", "--set", "stage.fit.budgets.worker_lost=100"]
        command = ["run", "job.toml", "--rerun", "all", "--yes", *SHORT, *budgets, "--set", "stage.fit.grace=3s"]
        run = self.start(*command)
        chance = random.Random(4)
        for kill in range(KILLS):
            # Some steps further than at the last kill, so that there is something to lose.
            target = (kill + 1) * calm["steps"] // (2 * KILLS)
            self.wait_for_step(run, target)
            if kill % 2:
                os.kill(chance.choice(self.ranks()), signal.SIGKILL)
            else:
                members = self.status()["workers"]["members"]
                os.kill(chance.choice(members)["pid"], signal.SIGKILL)
        run.ends(0, 240)
        stormy = self.result()
        self.assertTrue(stormy["each_step_counted_once"], stormy)
        for same in ("steps", "optimizer_steps", "samples_seen", "baseline_error_m"):
            self.assertEqual(calm[same], stormy[same], same)
        for near in ("training_error_m", "validation_error_m"):
            self.assertAlmostEqual(calm[near], stormy[near], delta=0.02, msg=near)
        causes = [json.loads(line) for line in self.petctl("events", "train", "-o", "json").stdout().splitlines()]
        self.assertGreaterEqual(sum(event["kind"] == "group_failed" for event in causes), KILLS)
        self.finish()

    def wait_for_step(self, run: Background, target: int) -> None:
        def look():
            self.assertTrue(run.runs(), run.stderr())
            training = (self.status().get("training") or [{}])[0]
            reached = max([training.get("step") or 0, *(c["step"] for c in training.get("checkpoints", []))])
            return training.get("phase") == "running" and reached >= target and self.ranks()

        # Each look starts a program.
        wait_for(f"step {target}", look, pause_s=0.2)
