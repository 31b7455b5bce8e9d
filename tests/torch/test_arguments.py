"""What petctl understands of a command line, against torchrun's own parser."""

import json
import os
import random
import re
import subprocess
import unittest
from contextlib import redirect_stderr
from io import StringIO
from unittest import mock

from torch.distributed.run import get_args_parser, parse_min_max_nnodes
from world import WorldTest

# A value that both take, for each flag with a value; two of them where it is a choice.
VALUES = {
    "nnodes": ["1", "2:4", "3"],
    "nproc_per_node": ["2", "cpu", "auto"],
    "rdzv_backend": ["c10d"],
    "rdzv_endpoint": ["head:29400", "[fd00::1]:7"],
    "rdzv_id": ["run-1", "a b", "-5"],
    "rdzv_conf": ["timeout=30", "join_timeout=5,last_call_timeout=1"],
    "max_restarts": ["3"],
    "monitor_interval": ["0.5", "5"],
    "start_method": ["fork", "forkserver"],
    "event_log_handler": ["null", "console"],
    "role": ["trainer", ""],
    "log_dir": ["/tmp/logs", "logs"],
    "redirects": ["3", "0:1,1:2"],
    "tee": ["1", "0:3"],
    "local_ranks_filter": ["0", "0,2"],
    "duplicate_stdout_filters": ["loss", "a,,b,c"],
    "duplicate_stderr_filters": ["warn,error"],
    "node_rank": ["0"],
    "master_addr": ["10.0.0.1"],
    "master_port": ["29501"],
    "local_addr": ["10.0.0.2"],
    "logs_specs": ["default"],
    "numa_binding": ["node", "core-complex"],
    "signals_to_handle": ["SIGTERM", "SIGTERM,SIGUSR1"],
    "shutdown_timeout": ["5"],
}
SWITCHES = ["standalone", "module", "no_python", "run_path", "virtual_local_rank"]
# Refused for having two spellings.
BOTH_SPELLINGS = object()
COMPARED = [
    "rdzv_backend", "rdzv_endpoint", "rdzv_id", "standalone", "max_restarts", "role", "log_dir", "node_rank",
    "master_addr", "master_port", "local_addr", "numa_binding", "virtual_local_rank", "nproc_per_node",
    "duplicate_stdout_filters", "duplicate_stderr_filters", "training_script", "training_script_args",
]


class Arguments(WorldTest):
    def petctl_reads(self, words: list[str], **environment: str) -> dict | None:
        """What petctl understands; nothing where it refuses."""
        clean = self.environment(**environment)
        command = [self.program, "torchrun", "--petctl-dump-args", *words]
        ran = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=30)
        if ran.returncode == 2:
            self.assertIn("error[USAGE]", ran.stderr)
            return None
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return json.loads(ran.stdout)

    def torchrun_reads(self, words: list[str], **environment: str):
        """What torchrun understands; nothing where it refuses."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
        said = StringIO()
        with mock.patch.dict(os.environ, clean | environment, clear=True), redirect_stderr(said):
            parser = get_args_parser()
            try:
                return parser.parse_args(words)
            except SystemExit:
                # Some versions of argparse take the two spellings of one flag for two flags.
                known = parser._option_string_actions
                spellings = re.findall(r"could match (.*)", said.getvalue())
                flags = {known[spelling].dest for line in spellings for spelling in line.split(", ")}
                return BOTH_SPELLINGS if len(flags) == 1 else None

    def compare(self, words: list[str], **environment: str) -> None:
        theirs, ours = self.torchrun_reads(words, **environment), self.petctl_reads(words, **environment)
        what = (words, environment)
        self.assertEqual(theirs is None, ours is None, what)
        if theirs in (None, BOTH_SPELLINGS):
            return
        for name in COMPARED:
            self.assertEqual(getattr(theirs, name), ours[name], (name, *what))
        self.assertEqual("{}:{}".format(*parse_min_max_nnodes(theirs.nnodes)), ours["nnodes"], what)

    def test_every_flag_in_every_spelling_and_form_is_read_as_torchrun_reads_it(self):
        actions = [a for a in get_args_parser()._actions if a.option_strings and a.dest != "help"]
        for action in actions:
            for spelling in action.option_strings:
                if action.dest in SWITCHES:
                    self.compare([spelling, "train.py", "--x"])
                    continue
                # Fails where torchrun has a flag that nobody has thought of here.
                for value in VALUES[action.dest]:
                    more = ["--rdzv-backend", "c10d", "--rdzv-endpoint=h"] if action.dest == "nnodes" else []
                    self.compare([*more, spelling, value, "train.py"])
                    joined = f"{spelling}={value}" if spelling.startswith("--") else spelling + value
                    self.compare([*more, joined, "train.py"])
        self.finish()

    def test_the_environment_gives_the_defaults_that_it_gives_torchrun(self):
        actions = {a.dest: a for a in get_args_parser()._actions if a.option_strings and a.dest != "help"}
        for dest in actions:
            for value in VALUES.get(dest, ["1", "0"]):
                variables = {f"PET_{dest.upper()}": value}
                if dest == "nnodes":
                    variables |= {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "h"}
                if value:
                    self.compare(["train.py"], **variables)
        self.finish()

    def test_odd_command_lines_are_taken_or_refused_as_torchrun_does(self):
        lines = [
            "", "--", "-- train.py", "train.py --", "train.py -- --x", "-", "- a", "-m", "-m pkg.mod -m",
            "--foo train.py", "train.py --foo", "--nnodes", "--nnodes train.py", "--nnodes=1", "--standalone=1 s",
            "--rdzv s", "--rdzv-b c10d s", "--red 3 s", "--redirect=3 s", "--stand s", "--log x s", "--log-d x s",
            "--m s", "--ma s", "--max 3 s", "--r 3 s", "--t 3 s", "--no-p s", "--no s", "--n s", "-r3 s", "-r 3 s",
            "-r=3 s", "-t3 -r1 s", "-mr3 s", "-mt 3 s", "-mx s", "-x s", "-5 s", "-5.5", "--node-rank 0 s",
            "--rdzv-id -5 s", "--rdzv-id --x s", "--rdzv-id -x s", "--rdzv-id -- s", "--max-restarts x s",
            "--max-restarts 1.5 s", "--start-method thread s", "--numa-binding all s", "--nproc-per_node 2 s",
            "--role= s", "--master-port x s", "--sh 3 s", "--si SIGTERM s", "--s s", "--virtual s", "--e null s",
        ]
        for line in lines:
            self.compare(line.split())
        self.finish()

    def test_flags_in_any_order_mean_the_same_to_both(self):
        chance = random.Random(7)
        actions = [a for a in get_args_parser()._actions if a.option_strings and a.dest in VALUES]
        for _ in range(60):
            words = ["--rdzv-backend=c10d", "--rdzv-endpoint", "h:1"]
            for action in chance.sample(actions, chance.randint(0, 8)):
                words += [chance.choice(action.option_strings), chance.choice(VALUES[action.dest])]
            if chance.random() < 0.3:
                words.insert(chance.randint(0, 1), "-m")
            self.compare([*words, "train.py", "--nnodes", "9", "-x"])
        self.finish()


if __name__ == "__main__":
    unittest.main()
