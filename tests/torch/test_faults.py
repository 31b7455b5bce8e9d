"""A group that adds up ones every 50 ms, while its workers come, go, die and stand still."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from world import SCRIPTS, Crew, Group, WorldTest, is_alive, wait_for

PYTHON = sys.executable


def can_look_into_processes() -> bool:
    """Whether py-spy may do here what it is for; in some containers it may not."""
    sleeper = "import time; print(flush=True); time.sleep(1000)"
    child = subprocess.Popen([PYTHON, "-c", sleeper], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        spy = Path(PYTHON).parent / "py-spy"
        return subprocess.run([spy, "dump", "--pid", str(child.pid)], capture_output=True).returncode == 0
    finally:
        child.kill()
        child.communicate()


class Faults(WorldTest):
    def crew(self, workers: list[str], *, wanted: int, least: int = 1, stage: str = "", pool: str = "") -> Crew:
        job = self.write_job(
            [PYTHON, SCRIPTS / "allreduce.py"],
            pool=f"min = {least}\nmax = 4\nwanted = {wanted}\n{pool}",
            stage=stage,
        )
        return Crew(self, job, workers)

    def saved(self, group: Group) -> int:
        """Waits until the coordinator knows a checkpoint of this epoch; answers its step."""

        def look():
            rows = self.crew_now.training().get("checkpoints", [])
            return next((row["step"] for row in rows if row["epoch"] == group.epoch), None)

        return wait_for("a checkpoint of this epoch", look, pause_s=0.1)

    def goes_on_after(self, crew: Crew, group: Group, *, size: int, from_step: int | None = None) -> Group:
        """The next group, which is the next but for nothing: no step that was committed is lost or done again."""
        after = crew.group(after=group.epoch, size=size)
        committed = [e for e in crew.events("checkpoint_committed") if e["fields"]["epoch"] < after.epoch]
        newest = max((e["fields"]["step"] for e in committed), default=0)
        self.assertEqual({rank["step"] for rank in after.ranks}, {newest})
        if from_step is not None:
            self.assertGreaterEqual(newest, from_step)
        wait_for("end of the ranks before", lambda: not any(is_alive(pid) for pid in group.pids()))
        return after

    def assert_charged(self, crew: Crew, *, restarts: int, causes: int) -> None:
        training = crew.training()
        self.assertEqual((training["restarts_used"], len(training["causes"])), (restarts, causes), training)

    def test_it_grows_from_2_to_4_shrinks_to_3_and_a_worker_that_is_told_to_leave_leaves_at_no_cost(self):
        self.crew_now = crew = self.crew(["a", "b", "c", "d"], wanted=2, stage='grow = "checkpoint"')
        two = crew.group(after=0, size=2)
        first = self.saved(two)
        crew.ask("scale", crew.name, "--workers", "4")
        four = self.goes_on_after(crew, two, size=4, from_step=first)
        self.assertEqual([rank["worker"] for rank in four.ranks[:2]], [rank["worker"] for rank in two.ranks])
        second = self.saved(four)
        crew.ask("scale", crew.name, "--workers", "3")
        three = self.goes_on_after(crew, four, size=3, from_step=second)
        self.assertEqual([r["worker"] for r in three.ranks], [r["worker"] for r in four.ranks[:3]])
        # On the way out it saved: all ranks agreed on the step, and the next group begins with it.
        told = {line["step"] for line in self.said("told to stop", epoch=four.epoch)}
        self.assertEqual(told, {three.ranks[0]["step"]})
        self.saved(three)
        leaver = crew.workers[crew.name_of(three.ranks[1])]
        leaver.send(signal.SIGTERM)
        left = self.goes_on_after(crew, three, size=2)
        told = {line["step"] for line in self.said("told to stop", epoch=three.epoch)}
        self.assertEqual(told, {left.ranks[0]["step"]})
        leaver.ends(0)
        self.assert_charged(crew, restarts=0, causes=0)
        crew.end()

    def test_growing_at_once_does_not_wait_for_a_checkpoint(self):
        self.crew_now = crew = self.crew(
            ["a", "b"], wanted=4, least=2, stage='grow = "now"', pool='settle_timeout = "1s"'
        )
        two = crew.group(after=0, size=2)
        crew.hire("c", "d")
        # They may come one after the other.
        epoch = two.epoch
        while True:
            group = wait_for("a larger group", lambda: self._newest(crew, epoch))
            if len(group.ranks) == 4:
                break
            epoch = group.epoch
        self.assert_charged(crew, restarts=0, causes=0)
        crew.end()

    def _newest(self, crew: Crew, after: int) -> Group | None:
        met = self.said("met")
        epoch = max((line["epoch"] for line in met), default=0)
        ranks = sorted((line for line in met if line["epoch"] == epoch), key=lambda line: line["rank"])
        return Group(epoch, ranks) if epoch > after and len(ranks) == ranks[0]["world_size"] else None

    def test_it_goes_on_without_killed_workers_and_names_a_killed_process(self):
        self.crew_now = crew = self.crew(["a", "b", "c"], wanted=3, stage="max_restarts = 5")
        three = crew.group(after=0, size=3)
        self.saved(three)
        # Rank 0's worker, with the rank as its child.
        crew.workers[crew.name_of(three.ranks[0])].kill()
        two = self.goes_on_after(crew, three, size=2)
        self.assertEqual([r["worker"] for r in two.ranks], [r["worker"] for r in three.ranks[1:]])
        cause = crew.training()["causes"][0]
        self.assertEqual((cause["charged"], cause["rank"]), ("worker_lost", None), cause)
        self.saved(two)
        os.kill(two.ranks[1]["pid"], signal.SIGKILL)
        again = self.goes_on_after(crew, two, size=2)
        self.assertEqual(again.ranks[0]["TORCHELASTIC_RESTART_COUNT"], "1")
        cause = crew.training()["causes"][0]
        self.assertEqual((cause["charged"], cause["rank"], cause["signal"]), ("restart", 1, 9), cause)
        self.saved(again)
        crew.workers[crew.name_of(again.ranks[1])].kill()
        one = self.goes_on_after(crew, again, size=1)
        self.assertEqual(one.ranks[0]["worker"], again.ranks[0]["worker"])
        self.assert_charged(crew, restarts=1, causes=3)
        crew.end()

    def test_it_goes_on_without_a_worker_that_stands_still_and_takes_it_back(self):
        self.crew_now = crew = self.crew(["a", "b"], wanted=2, stage='grow = "now"')
        two = crew.group(after=0, size=2)
        self.saved(two)
        frozen = two.ranks[1]
        stopped = (crew.workers[crew.name_of(frozen)].pid, frozen["pid"])
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        one = crew.group(after=two.epoch, size=1)
        self.assertFalse(is_alive(two.ranks[0]["pid"]))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        whole = self.goes_on_after(crew, one, size=2)
        self.assertEqual({rank["worker"] for rank in whole.ranks}, {rank["worker"] for rank in two.ranks})
        self.assertFalse(is_alive(frozen["pid"]))
        crew.end()

    def test_training_goes_on_while_the_coordinator_is_dead_and_nothing_is_started_again(self):
        self.crew_now = crew = self.crew(["a", "b"], wanted=2)
        two = crew.group(after=0, size=2)
        before = self.saved(two)
        crew.coordinator.kill()
        now = self.said("saved")[-1]["step"]
        wait_for("steps without a coordinator", lambda: self.said("saved")[-1]["step"] > now)
        crew.coordinator = crew.start_coordinator()
        # What was saved meanwhile is known afterwards.
        wait_for("a newer checkpoint", lambda: crew.training()["checkpoints"][0]["step"] > max(before, now))
        self.assertTrue(two.all_alive())
        self.assertEqual(len(self.said("met")), 2, "nothing was started again")
        self.assertEqual(len(crew.events("group_started")), 1)
        crew.end()

    def test_suspended_it_saves_and_stops_and_resumed_it_goes_on_there(self):
        self.crew_now = crew = self.crew(["a", "b"], wanted=2)
        two = crew.group(after=0, size=2)
        crew.ask("suspend", crew.name)
        wait_for("end of the ranks", lambda: not any(is_alive(pid) for pid in two.pids()))
        told = {line["step"] for line in self.said("told to stop")}
        wait_for("a suspended job", lambda: crew.status().get("state") == "suspended")
        crew.ask("resume", crew.name)
        again = self.goes_on_after(crew, two, size=2)
        self.assertEqual({rank["step"] for rank in again.ranks}, told)
        self.assert_charged(crew, restarts=0, causes=0)
        crew.end()

    def test_a_group_that_hangs_is_restarted_with_pythons_stacks_in_its_log(self):
        hang = self.job / "hang.py"
        hang.write_text(
            "import os, time\n"
            "def waits_for_a_friend_who_never_comes():\n"
            "    time.sleep(10000)\n"
            "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
            "    waits_for_a_friend_who_never_comes()\n"
        )
        job = self.write_job([PYTHON, hang], pool="min = 1\nmax = 1", stage='progress_timeout = "2s"\nmax_restarts = 1')
        self.start("run", job).ends(0)
        log = self.petctl("logs", "job", "--epoch", "1").stdout()
        if can_look_into_processes():
            self.assertIn("waits_for_a_friend_who_never_comes", log)
        events = self.petctl("events", "job", "-o", "json").stdout()
        self.assertIn("RANK_HUNG", events)
        self.finish()

    def test_ddp_fsdp2_and_distributed_checkpoints_go_on_after_a_killed_rank(self):
        job = self.write_job(
            [PYTHON, SCRIPTS / "sharded.py", "{checkpoints}", "6", "3"],
            pool="min = 1\nmax = 1",
            stage="processes_per_worker = 2\nmax_restarts = 1",
        )
        self.start("run", job).ends(0)
        found = self.said("trained")
        self.assertEqual([(line["first"], line["step"]) for line in found], [(3, 6), (3, 6)])
        self.assertAlmostEqual(found[0]["ddp"], found[0]["fsdp2"], places=4)
        self.finish()

    def test_the_exception_of_a_recorded_script_is_the_jobs_first_cause(self):
        job = self.write_job(
            [PYTHON, SCRIPTS / "failing.py", "1", "ring road"],
            pool="min = 1\nmax = 1",
            stage="processes_per_worker = 2\nmax_restarts = 0",
        )
        ran = self.start("run", job).ends(1)
        said = ran.stdout() + ran.stderr()
        self.assertIn("ValueError: no such road: ring road", said)
        self.finish()
