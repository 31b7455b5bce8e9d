"""`petctl torchrun`, and tools that call `torchrun`, with real PyTorch scripts."""

import json
import os
import re
import signal
import socket
import sys
import textwrap
import time
from pathlib import Path

from world import SCRIPTS, WorldTest, is_alive, wait_for

PYTHON = sys.executable
# What differs between two runs by its nature, or is not there under the other.
OWN_VALUES = {"MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE", "MASTER_ADDR", "_"}


class Torchrun(WorldTest):
    def script(self, name: str, body: str) -> Path:
        path = self.job / name
        path.write_text(textwrap.dedent(body))
        return path

    def environments(self, launcher: list[object], **environment: str) -> list[dict[str, str]]:
        """What two ranks find in their environments."""
        # In one write: a line and its end apart come between those of the other rank.
        line = "f'ENV {json.dumps(dict(os.environ))}\\n'.encode()"
        dump = self.script("dump.py", f"import json, os; os.write(1, {line})")
        ran = self.start(*launcher[1:], dump, program=launcher[0], **environment).ends(0)
        lines = re.findall(r"ENV (\{.*\})", ran.stdout())
        found = sorted((json.loads(line) for line in lines), key=lambda one: one["RANK"])
        self.assertEqual(len(found), 2, ran.stdout() + ran.stderr())
        return found

    def test_a_script_finds_the_same_environment_as_under_pytorchs_torchrun(self):
        flags = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
        theirs = self.environments([PYTHON, "-m", "torch.distributed.run", *flags])
        ours = self.environments([self.program, "torchrun", *flags])
        for own, other in zip(ours, theirs):
            left_out = {name for name in set(other) - set(own) if not name.startswith("PETCTL_")}
            self.assertEqual(left_out, set())
            more = {name for name in set(own) - set(other) if not name.startswith("PETCTL_")}
            self.assertEqual(more, set())
            for name in set(own) & set(other) - OWN_VALUES - {"TORCHELASTIC_USE_AGENT_STORE"}:
                self.assertEqual(own[name], other[name], name)
            self.assertEqual(own["TORCHELASTIC_USE_AGENT_STORE"], "False")
        self.finish()

    def test_torchx_starts_its_nodes_through_a_torchrun_that_is_petctl(self):
        component = ["dist.ddp", "-j", "2x2", "--rdzv_port", free_port()]
        command = ["run", "-s", "local_cwd", *component, "--script", SCRIPTS / "world_size.py"]
        self.start(*command, program=Path(PYTHON).parent / "torchx").ends(0)
        found = self.said("world size")
        self.assertEqual(sorted(line["rank"] for line in found), [0, 1, 2, 3])
        self.assertEqual({line["size"] for line in found}, {4})
        self.finish()

    def test_ddp_fsdp2_and_distributed_checkpoints_go_on_with_another_number_of_ranks(self):
        losses = {}
        for name, sizes in {"straight": [(1, 6)], "changing": [(2, 3), (3, 6)]}.items():
            for ranks, steps in sizes:
                script = [SCRIPTS / "sharded.py", self.folder / name, steps]
                self.petctl("torchrun", "--standalone", "--nproc-per-node", ranks, *script)
            *_, last = self.said("trained", rank=0)
            self.assertEqual((last["step"], last["world_size"]), (6, ranks))
            losses[name] = last
        self.assertEqual(losses["changing"]["first"], 3)
        for method in ("ddp", "fsdp2"):
            self.assertAlmostEqual(losses["straight"][method], losses["changing"][method], places=4)
        self.finish()

    def test_the_exception_of_a_recorded_script_is_said_and_the_others_are_folded_under_it(self):
        command = ["--standalone", "--nproc-per-node", "3", SCRIPTS / "failing.py", "1", "ring road"]
        ran = self.start("torchrun", *command).ends(1)
        said = ran.stdout() + ran.stderr()
        self.assertIn("ValueError: no such road: ring road", said)
        self.assertRegex(said, r"rank 1\b")
        self.finish()

    def test_nodes_of_one_endpoint_find_one_another_and_their_ranks_meet(self):
        flags = ["--nnodes", "2", "--nproc_per_node=1", "--rdzv-backend", "c10d", "--rdzv_id", self.folder.name]
        endpoint = ["--rdzv-endpoint", f"localhost:{free_port()}"]
        command = ["torchrun", *flags, *endpoint, SCRIPTS / "world_size.py"]
        nodes = [self.start(*command), self.start(*command)]
        for node in nodes:
            node.ends(0)
        self.assertEqual(sorted(line["rank"] for line in self.said("world size", size=2)), [0, 1])
        self.finish()

    def test_a_failed_rank_costs_a_restart_and_the_last_failure_is_the_exit_code(self):
        flaky = self.script(
            "flaky.py",
            """
            import os, sys
            restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
            print(f"restarts {restarts} of {os.environ['TORCHELASTIC_MAX_RESTARTS']}", flush=True)
            sys.exit(0 if restarts == int(sys.argv[1]) else 3)
            """,
        )
        once = self.start("torchrun", "--standalone", "--max-restarts=2", flaky, "1").ends(0)
        self.assertIn("restarts 0 of 2", once.stdout())
        self.assertIn("restarts 1 of 2", once.stdout())
        self.start("torchrun", "--standalone", "--max-restarts=1", flaky, "9").ends(1)
        self.finish()

    def test_a_rank_that_exits_well_before_the_others_is_waited_with(self):
        early = self.script(
            "early.py",
            """
            import os, time
            from pathlib import Path
            if os.environ["RANK"] == "0":
                Path("rank-0-is-done").touch()
            else:
                while not Path("end").exists():
                    time.sleep(0.02)
            print("done", os.environ["RANK"], flush=True)
            """,
        )
        run = self.start("torchrun", "--standalone", "--nproc-per-node", "2", early)
        wait_for("the end of rank 0", lambda: (self.job / "rank-0-is-done").exists())
        self.assertTrue(run.runs())
        self.order("end")
        self.assertIn("done 1", run.ends(0).stdout())
        self.finish()

    def test_what_ranks_fork_and_forget_ends_with_them(self):
        forgetful = self.script(
            "forgetful.py",
            """
            import subprocess
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            open("forgotten", "w").write(f"{child.pid}\\n")
            """,
        )
        self.start("torchrun", "--standalone", forgetful).ends(0)
        self.assertFalse(is_alive(int((self.job / "forgotten").read_text())))
        self.finish()

    def test_ctrl_c_ends_ranks_that_ignore_it_when_their_time_is_over(self):
        deaf = self.script(
            "deaf.py",
            """
            import signal, time
            from pathlib import Path
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            Path("deaf").touch()
            time.sleep(1000)
            """,
        )
        run = self.start("torchrun", "--standalone", "--shutdown-timeout", "1", deaf)
        wait_for("a rank that runs", lambda: (self.job / "deaf").exists())
        os.killpg(run.pid, signal.SIGINT)
        self.assertIn(run.wait(30), (130, 1, -signal.SIGINT))
        self.finish()

    def test_a_million_lines_come_out_with_the_rank_before_each(self):
        loud = self.script(
            "loud.py",
            """
            import sys
            for block in range(100):
                sys.stdout.write("".join(f"line {block * 10000 + i}\\n" for i in range(10000)))
            """,
        )
        start = time.monotonic()
        ran = self.start("torchrun", "--standalone", "--tee", "3", "--log-dir", self.folder / "tee", loud).ends(0)
        lines = ran.stdout().splitlines()
        self.assertEqual(len(lines), 1_000_000)
        self.assertTrue(all(line.startswith("[default0]:line ") for line in lines[::9973]), lines[:3])
        self.assertLess(time.monotonic() - start, 60)
        self.finish()

    def test_error_files_that_are_broken_or_huge_harm_nothing(self):
        broken = self.script(
            "broken.py",
            """
            import os, sys
            with open(os.environ["TORCHELASTIC_ERROR_FILE"], "wb") as file:
                if sys.argv[1] == "huge":
                    file.truncate(1 << 30)
                else:
                    file.write(b'{"message": {"mess')
            sys.exit(7)
            """,
        )
        for kind in ("huge", "half"):
            ran = self.start("torchrun", "--standalone", broken, kind).ends(1, 30)
            self.assertRegex(ran.stderr(), r"\b7\b")
            self.assertNotIn("panicked", ran.stderr())
        self.finish()

    def test_a_script_that_closes_its_output_goes_on(self):
        silent = self.script(
            "silent.py",
            """
            import os
            from pathlib import Path
            os.close(1); os.close(2)
            Path("silent").write_text("done")
            """,
        )
        self.start("torchrun", "--standalone", silent).ends(0)
        self.assertEqual((self.job / "silent").read_text(), "done")
        self.finish()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
