"""The folder of one test, the program, and what must be true at the end: nothing is left running."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRIPTS = HERE / "scripts"
# Marks every process of a test; what they start inherits it.
MARK = "TORCH_WORLD"
# A loaded machine of two cores gets this long for anything.
PATIENCE_S = 120
LEAVE_S = 30


def petctl_program() -> Path:
    """The program under test: PETCTL_BIN, or that of the build that tests/run made."""
    named = os.environ.get("PETCTL_BIN")
    if not named:
        raise unittest.SkipTest("PETCTL_BIN does not name the program; tests/run sets it")
    path = Path(named).resolve()
    if not path.is_file():
        raise AssertionError(f"PETCTL_BIN names no file: {path}")
    return path


def wait_for(what: str, look, patience_s: float = PATIENCE_S, pause_s: float = 0.02):
    """Looks until there is something, and answers it."""
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"after {patience_s:g} s still not: {what}")
        time.sleep(pause_s)


def is_alive(pid: int) -> bool:
    """Whether the process is there, and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Background:
    """A program that was started; its output goes to files."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log

    @property
    def pid(self) -> int:
        return self.process.pid

    def runs(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stdout(self) -> str:
        return self.log.with_suffix(".out").read_text(errors="replace")

    def stderr(self) -> str:
        return self.log.with_suffix(".err").read_text(errors="replace")

    def wait(self, patience_s: float = PATIENCE_S) -> int:
        """Its exit code, negative for a signal."""
        wait_for(f"end of {self.process.args}", lambda: not self.runs(), patience_s)
        return self.process.returncode

    def ends(self, code: int, patience_s: float = PATIENCE_S) -> "Background":
        found = self.wait(patience_s)
        if found != code:
            raise AssertionError(f"exit {found}, not {code}\n{self.stdout()[-4000:]}\n{self.stderr()[-4000:]}")
        return self


class WorldTest(unittest.TestCase):
    """A test with a folder of its own. At its end, whatever it started is gone by itself."""

    def setUp(self):
        self.program = petctl_program()
        self.folder = Path(tempfile.mkdtemp(prefix="petctl-torch-"))
        self.addCleanup(self._clean_up)
        for name in ("job", "logs", "bin"):
            (self.folder / name).mkdir()
        # Under this name it is torchrun.
        (self.folder / "bin" / "torchrun").symlink_to(self.program)
        self.started = 0
        self.finished = False

    def environment(self, **more: str) -> dict[str, str]:
        left_out = ("PETCTL_", "PET_", "TORCHELASTIC_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), clean["PATH"]])
        own = {MARK: self.folder.name, "PETCTL_HOME": str(self.folder / "home"), "NO_COLOR": "1", "PATH": path}
        return clean | own | {"PYTHONDONTWRITEBYTECODE": "1", "EVENTS": str(self.events_file)} | more

    @property
    def job(self) -> Path:
        return self.folder / "job"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    def start(self, *command: object, program: object = None, **environment: str) -> Background:
        """petctl with these arguments, or another program, in the job folder."""
        self.started += 1
        program = program or self.program
        log = self.folder / "logs" / f"{self.started:04}-{Path(str(program)).name}"
        with log.with_suffix(".out").open("wb") as out, log.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                [str(word) for word in (program, *command)],
                cwd=self.job,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return Background(process, log)

    def petctl(self, *command: object, **environment: str) -> Background:
        """petctl with these arguments, to its end, which must be good."""
        return self.start(*command, **environment).ends(0)

    def write_job(self, command: list[object], *, name: str = "job", pool: str = "", stage: str = "") -> Path:
        """A job of one training stage, `fit`."""
        words = json.dumps([str(word) for word in command])
        path = self.job / f"{name}.toml"
        path.write_text(
            f'[job]\nname = "{name}"\n\n[workers]\n{pool}\n\n[storage]\noutput = "out"\n\n'
            f'[[stage]]\nname = "fit"\nkind = "train"\ncommand = {words}\ngrace = "5s"\n{stage}\n'
        )
        return path

    def said(self, event: str, **fields: object) -> list[dict]:
        """Lines of this kind, with these fields, that scripts have noted."""
        try:
            text = self.events_file.read_text()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]
        found = (json.loads(line) for line in whole.splitlines())
        wanted = {"event": event} | fields
        return [line for line in found if all(line.get(key) == value for key, value in wanted.items())]

    def order(self, name: str) -> None:
        """Scripts look for files of this kind."""
        (self.job / name).touch()

    def processes(self) -> list[int]:
        """Living processes of this test."""
        mark = f"{MARK}={self.folder.name}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in environment and is_alive(int(entry.name)):
                    found.append(int(entry.name))
        return found

    def finish(self) -> None:
        """Nothing is left running. Every test ends with it."""
        wait_for("end of all processes of the test", lambda: not self.processes(), LEAVE_S)
        self.finished = True

    def _clean_up(self):
        while left := self.processes():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if not self.finished:
            self._show_logs()
        if os.environ.get("PETCTL_IT_KEEP") and not self.finished:
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _show_logs(self):
        files = [*self.folder.glob("logs/*"), *self.folder.glob("home/**/*.log"), self.events_file]
        for path in files:
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
            if lines:
                shown = [line[:400] for line in lines[-25:]]
                print(f"-- {path}", *shown, sep="\n", file=sys.stderr)


class Crew:
    """A coordinator on this machine, a job, and workers that are started and killed one by one."""

    def __init__(self, world: WorldTest, job_file: Path, workers: list[str], *, heartbeat: str = "3s"):
        self.world, self.name, self.heartbeat = world, job_file.stem, heartbeat
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.state = world.folder / "rendezvous"
        self.coordinator = self.start_coordinator()
        self.connect = ["--coordinator", f"http://127.0.0.1:{self.port}", "--token-file", self.state / "token"]
        self.run = world.start("run", job_file, *self.connect)
        self.workers: dict[str, Background] = {}
        self.ids: dict[str, str] = {}
        self.hire(*workers)

    def start_coordinator(self) -> Background:
        arguments = ["--listen", f"127.0.0.1:{self.port}", "--state", self.state]
        found = self.world.start("rendezvous", *arguments, "--heartbeat-timeout", self.heartbeat)
        wait_for("a coordinator that listens", lambda: "http://" in found.stdout() or not found.runs())
        assert found.runs(), found.stderr()
        return found

    def hire(self, *names: str) -> None:
        for name in names:
            self.ids[name] = f"{len(self.ids) + 1:032x}"
            arguments = ["--name", name, "--id", self.ids[name]]
            self.workers[name] = self.world.start("worker", *self.connect, *arguments)

    def ask(self, *command: object) -> str:
        return self.world.petctl(command[0], *self.connect, *command[1:]).stdout()

    def status(self) -> dict:
        found = self.world.start("status", *self.connect, self.name, "-o", "json")
        found.wait()
        try:
            return json.loads(found.stdout())
        except json.JSONDecodeError:
            return {}

    def training(self) -> dict:
        return (self.status().get("training") or [{}])[0]

    def events(self, kind: str) -> list[dict]:
        lines = (json.loads(line) for line in self.ask("events", self.name, "-o", "json").splitlines())
        return [line for line in lines if line["kind"] == kind]

    def group(self, *, after: int, size: int) -> "Group":
        """The newest epoch after that one, once all its ranks have met."""

        def look():
            met = self.world.said("met")
            epoch = max((line["epoch"] for line in met), default=0)
            ranks = sorted((line for line in met if line["epoch"] == epoch), key=lambda line: line["rank"])
            return epoch > after and len(ranks) == size == ranks[0]["world_size"] and Group(epoch, ranks)

        return wait_for(f"a group of {size} ranks in an epoch after {after}", look)

    def name_of(self, rank: dict) -> str:
        """The worker that started this rank."""
        return next(name for name, worker_id in self.ids.items() if worker_id == rank["worker"])

    def end(self) -> None:
        """Lets the training end well, and everybody go home."""
        self.world.order("end")
        self.run.ends(0)
        for worker in self.workers.values():
            if worker.runs():
                worker.send(signal.SIGTERM)
        for worker in self.workers.values():
            worker.wait()
        self.coordinator.send(signal.SIGTERM)
        self.coordinator.ends(143)
        self.world.finish()


class Group:
    """The ranks of an epoch, in their order."""

    def __init__(self, epoch: int, ranks: list[dict]):
        self.epoch, self.ranks = epoch, ranks

    def pids(self) -> list[int]:
        return [rank["pid"] for rank in self.ranks]

    def all_alive(self) -> bool:
        return all(is_alive(pid) for pid in self.pids())
