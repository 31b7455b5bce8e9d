"""docker/compose.yaml and docs/docker.md: they say what the compose specification and petctl understand.

Run by the Python that tests/docker/install makes.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("PETCTL_BIN", "")


def why_not() -> str | None:
    try:
        import compose_spec  # noqa: F401
    except ImportError:
        return "compose-spec is missing; run it by the Python that tests/docker/install prints"
    return None if os.path.isfile(PROGRAM) else "PETCTL_BIN names no program"


reason = why_not()
if reason:
    print(f"tests/docker: compose.yaml is not tested: {reason}", file=sys.stderr)
    if __name__ == "__main__":
        sys.exit(3)
    raise unittest.SkipTest(reason)

from compose_spec import PyOptions  # noqa: E402


def read(text: str):
    """The file as Docker reads it where no variable is set."""
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    compose = PyOptions(apply_merge=True).from_yaml(filled)
    compose.validate()
    return json.loads(compose.to_json())


def flags_of(command: str) -> set[str]:
    """What `petctl COMMAND` takes, hidden flags not among them."""
    helped = subprocess.run(
        [PROGRAM, *command.split(), "--help"], capture_output=True, text=True, timeout=60, env={"HOME": "/nonexistent"}
    )
    assert helped.returncode == 0, helped.stderr
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", helped.stdout))


class Commands(unittest.TestCase):
    def assert_understood(self, words: list[str]):
        """petctl has this command, and the command has these flags."""
        command = words[0]
        if command == "storage":
            command = " ".join(words[:2])
        # A command that is there but not for people says nothing of itself in petctl's own help: its own must do.
        known = flags_of(command)
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        self.assertLessEqual(given, known, f"petctl {command}")


class Compose(Commands):
    @classmethod
    def setUpClass(cls):
        cls.text = (ROOT / "docker/compose.yaml").read_text()
        cls.file = read(cls.text)
        cls.services = cls.file["services"]

    def test_the_reader_refuses_what_the_specification_does_not_have(self):
        for known, unknown in [
            ("read_only: true", "read_onli: true"),
            ("secrets: [token]", "secrets: [tokem]"),
            ("condition: service_healthy", "condition: healthy"),
        ]:
            with self.assertRaises(Exception, msg=unknown):
                read(self.text.replace(known, unknown, 1))

    def test_its_services_name_commands_and_flags_that_there_are(self):
        for name in ["coordinator", "program", "worker"]:
            self.assert_understood(self.services[name]["command"])
        kind, program, *words = self.services["coordinator"]["healthcheck"]["test"]
        self.assertEqual((kind, program), ("CMD", "/usr/local/bin/petctl"))
        self.assert_understood(words)

    def test_what_services_name_is_there(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if "/" not in source:
                    self.assertIn(source, self.file["volumes"], name)
                else:
                    self.assertTrue((ROOT / "docker" / source).is_dir(), source)
            for other, how in service.get("depends_on", {}).items():
                self.assertIn(other, self.services, name)
                if how["condition"] == "service_healthy":
                    self.assertIn("healthcheck", self.services[other])

    def test_workers_find_the_program_where_it_is_put(self):
        _, folder = self.services["program"]["command"]
        self.assertEqual(self.services["program"]["volumes"], [f"program:{folder}"])
        self.assertIn("program:/petctl:ro", self.services["worker"]["volumes"])
        self.assertEqual(self.services["worker"]["entrypoint"], ["/petctl/bin/petctl"])
        # A new volume belongs to whom the image's folder belongs to; that has to be the image's user.
        dockerfile = (ROOT / "docker/Dockerfile").read_text()
        self.assertIn(f"COPY --chown=65532:65532 state {folder}\n", dockerfile)
        self.assertEqual(self.services["coordinator"]["volumes"], [f"state:{folder}"])

    def test_the_versions_are_the_projects(self):
        _, version, _ = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout.split()
        self.assertEqual(self.services["coordinator"]["image"], f"petctl:{version}")
        source = (ROOT / "storage/azurite/src/lib.rs").read_text()
        azurite = re.search(r'VERSION: &str = "([\d.]+)"', source).group(1)
        self.assertEqual(self.services["azurite"]["image"], f"mcr.microsoft.com/azure-storage/azurite:{azurite}")
        key = re.search(r'"(\S+==)"', (ROOT / "storage/src/emulator.rs").read_text()).group(1)
        for name in ["worker", "petctl"]:
            self.assertIn(f"AccountKey={key};", self.services[name]["environment"]["AZURE_STORAGE_CONNECTION_STRING"])

    def test_only_this_machine_reaches_it(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), name)


class Documentation(Commands):
    def test_its_commands_are_understood(self):
        text = (ROOT / "docs/docker.md").read_text()
        understood = 0
        for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if "petctl" in words and words[0] in ("petctl", "docker"):
                    words = words[words.index("petctl") + 1 :]
                    self.assert_understood(words)
                    understood += 1
                elif words and words[0].startswith("docker/"):
                    helped = subprocess.run([ROOT / words[0], "--help"], capture_output=True, text=True)
                    for word in words:
                        if word.startswith("--"):
                            self.assertIn(word, helped.stdout, line)
                    understood += 1
        self.assertGreater(understood, 6)


if __name__ == "__main__":
    unittest.main()
