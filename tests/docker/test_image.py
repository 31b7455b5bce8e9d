"""petctl's own image, built and run without a daemon.

    PETCTL_BIN=target/debug/petctl python3 -m unittest discover -s tests/docker

PETCTL_TEST_IMAGES: the folder of debian.tar and pause.tar (default: where tests/kube/install has put them).
"""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from container import Archive, Container, base_image, cannot, end

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("PETCTL_BIN", "")
DEBIAN, PAUSE = base_image("debian"), base_image("pause")


def why_not() -> str | None:
    if not os.path.isfile(PROGRAM):
        return "PETCTL_BIN names no program"
    if DEBIAN is None or PAUSE is None or not (DEBIAN.is_file() and PAUSE.is_file()):
        return "there is no base image; tests/kube/install makes one"
    return cannot()


reason = why_not()
if reason:
    print(f"tests/docker: the image is not tested: {reason}", file=sys.stderr)
    if __name__ == "__main__":
        sys.exit(3)
    raise unittest.SkipTest(reason)


def build(*words: str) -> subprocess.CompletedProcess:
    """Builds an image of the program; nothing of that is left but what was asked for."""
    command = [ROOT / "docker/image", "--with", "buildah", "--from", PROGRAM, *words]
    with tempfile.TemporaryDirectory(prefix="petctl-test-docker-") as temporary:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env={**os.environ, "TMPDIR": temporary}
        )
        assert os.listdir(temporary) == [], os.listdir(temporary)
    return done


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="petctl-test-docker-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        # Others must come through, as they do where containers lie.
        cls.folder.chmod(0o755)
        file = cls.folder / "petctl.tar"
        built = build("--base", str(DEBIAN), "--tag", "petctl:test", "--output", str(file))
        if built.returncode != 0:
            raise AssertionError(built.stderr)
        cls.archive = Archive(file)
        root = cls.folder / "root"
        root.mkdir()
        cls.archive.unpack(root)
        cls.container = Container(root)
        cls.version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout

    def test_it_says_what_it_is_and_who_runs_it(self):
        config = self.archive.config["config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], ["/usr/local/bin/petctl"])
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertFalse(config.get("Volumes"))
        _, version, commit = self.version.split()
        said = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
        self.assertEqual(said["version"], version)
        self.assertEqual(said["revision"], commit.strip("()"))
        self.assertEqual(said["title"], "petctl")
        self.assertEqual(said["licenses"], "MIT")
        self.assertEqual(said["base.name"], "petctl.local/debian:1")
        # As clusters and as Docker call it.
        self.assertIn("docker.io/library/petctl:test", self.archive.manifest["RepoTags"])

    def test_it_adds_the_program_and_one_empty_folder(self):
        added = self.archive.added()
        self.assertEqual([path for path, member in added.items() if not member.isdir()], ["usr/local/bin/petctl"])
        program, state = added["usr/local/bin/petctl"], added["var/lib/petctl"]
        self.assertEqual((program.mode & 0o7777, program.uid, program.gid), (0o755, 0, 0))
        self.assertEqual((state.mode & 0o7777, state.uid, state.gid), (0o755, 65532, 65532))
        others = [member for path, member in added.items() if member.isdir() and path != "var/lib/petctl"]
        self.assertEqual({(member.mode & 0o7777, member.uid, member.gid) for member in others}, {(0o755, 0, 0)})

    def test_any_user_may_run_it_and_it_needs_nothing_to_write(self):
        for user in ["65532:65532", "12345:12345", "1000680000:0", "0:0"]:
            ran = self.container.run(["/usr/local/bin/petctl", "--version"], user=user)
            self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, self.version, ""), user)

    def test_a_coordinator_and_a_worker_of_it_carry_out_a_job(self):
        folder = self.folder / "jobs"
        folder.mkdir()
        # Whoever works there writes there.
        folder.chmod(0o777)
        (folder / "input").mkdir()
        for name in ["a.txt", "b.txt"]:
            (folder / "input" / name).write_text(name)
        job = folder / "job.toml"
        job.write_text(
            '[job]\nname = "image"\n[workers]\nmin = 1\nmax = 1\nslots = 1\n'
            '[storage]\ninput = "input"\noutput = "out"\n'
            '[[stage]]\nname = "who"\nkind = "shards"\nshards = { glob = "*.txt" }\n'
            'command = ["sh", "-c", "id -u >{output}/uid && cat {input} >{output}/copy"]\n'
        )
        token = self.folder / "token"
        token.write_text("0123456789abcdef0123456789abcdef\n")
        secret = (token, "/run/secrets/token")
        with self.container.started(
            ["/usr/local/bin/petctl", "rendezvous", "--listen=127.0.0.1:0", "--state=/var/lib/petctl/state",
             "--token-file=/run/secrets/token"],
            user="65532:65532",
            binds=[secret],
            empty=[("/var/lib/petctl", "mode=700,uid=65532,gid=65532")],
            HOME="/var/lib/petctl",
        ) as coordinator:
            address = coordinator.stdout.readline().strip()
            self.assertRegex(address, r"^http://127\.0\.0\.1:\d+$")
            there = ["--coordinator", address, "--token-file", "/run/secrets/token"]
            # Its root read-only, no folder for temporary files, HOME=/, a user that no file names.
            with self.container.started(
                ["/usr/local/bin/petctl", "worker", *there], binds=[secret, (folder, str(folder))]
            ) as worker:
                ran = self.container.run(
                    ["/usr/local/bin/petctl", "run", *there, str(job)],
                    binds=[secret, (folder, str(folder))],
                    empty=[("/tmp", "mode=1777")],
                    HOME="/tmp",
                )
                self.assertEqual(ran.returncode, 0, ran.stderr)
                said = end(worker)
                self.assertEqual(worker.returncode, 0, said)
            said = end(coordinator)
            self.assertEqual(coordinator.returncode, 143, said)
        for name in ["a.txt", "b.txt"]:
            (copy,) = folder.glob(f"out/**/{name}/copy")
            self.assertEqual(copy.read_text(), name)
            self.assertEqual((copy.parent / "uid").read_text(), "12345\n")

    def test_a_coordinator_that_shall_keep_pods_outside_a_cluster_says_what_it_lacks(self):
        ran = self.container.run(
            ["/usr/local/bin/petctl", "rendezvous", "--keep-pods", "--state=/var/lib/petctl/state"],
            user="65532:65532",
            empty=[("/var/lib/petctl", "mode=700,uid=65532,gid=65532")],
        )
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn("POD_NAMESPACE", ran.stderr)

    def installed(self) -> Path:
        """A folder into which the image's own user has installed the program, as in a pod's volume."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="volume-"))
        folder.chmod(0o777)
        ran = self.container.run(
            ["/usr/local/bin/petctl", "install-program", "/petctl"], user="65532:65532", binds=[(folder, "/petctl")]
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        return folder

    def test_the_program_that_it_installs_runs_for_other_users_in_other_images(self):
        folder = self.installed()
        program = folder / "bin/petctl"
        self.assertEqual(program.stat().st_mode & 0o7777, 0o755)
        for name in ["home", "code", "scratch"]:
            self.assertEqual((folder / name).stat().st_mode & 0o7777, 0o777, name)
        other = self.folder / "other"
        other.mkdir()
        Archive(DEBIAN).unpack(other)
        for user in ["12345:12345", "1000680000:0"]:
            ran = Container(other).run(["/petctl/bin/petctl", "--version"], user=user, binds=[(folder, "/petctl")])
            self.assertEqual((ran.returncode, ran.stdout), (0, self.version), ran.stderr)
        # Nobody else changes it.
        tried = Container(other).run(["sh", "-c", ": >/petctl/bin/petctl"], binds=[(folder, "/petctl")])
        self.assertIn("Permission denied", tried.stderr)

    def test_without_a_glibc_it_does_not_start_and_the_system_says_no_such_file(self):
        # docs/docker.md names these words: the file that is missing is the loader, not petctl.
        folder = self.installed()
        bare = self.folder / "bare"
        bare.mkdir()
        Archive(PAUSE).unpack(bare)
        ran = Container(bare).run(["/petctl/bin/petctl", "--version"], binds=[(folder, "/petctl")])
        self.assertEqual(ran.returncode, 127)
        self.assertIn("/petctl/bin/petctl", ran.stderr)
        self.assertIn("No such file or directory", ran.stderr)

    def test_a_base_without_a_glibc_is_refused(self):
        file = self.folder / "refused.tar"
        built = build("--base", str(PAUSE), "--tag", "petctl:refused", "--output", str(file))
        self.assertEqual(built.returncode, 1)
        self.assertIn("petctl does not start on petctl.local/pause:1", built.stderr)
        self.assertIn("glibc 2.28", built.stderr)
        self.assertFalse(file.exists())


class Refusals(unittest.TestCase):
    def test_what_is_wrong_on_the_command_line_is_named(self):
        for words, named in [
            (["--bass", "x"], "there is no --bass"),
            (["--tag"], "--tag wants a value"),
            (["--base", "/nowhere/base.tar"], "no file /nowhere/base.tar"),
            (["--output", "/nowhere/x.tar"], "no folder /nowhere"),
            (["--with", "rkt"], "docker, podman or buildah"),
        ]:
            built = build(*words)
            self.assertEqual(built.returncode, 2, words)
            self.assertIn(named, built.stderr)

    def test_what_is_no_image_is_named(self):
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            file.write(b"no image")
            file.flush()
            built = build("--base", file.name, "--output", file.name + ".out")
        self.assertEqual(built.returncode, 1)
        self.assertIn("names no image", built.stderr)


if __name__ == "__main__":
    unittest.main()
