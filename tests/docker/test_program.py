"""What docker/program says of programs; nothing is built."""

import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "docker/program"


class Check(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="petctl-test-docker-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def linked(self, name: str, code: str, *words: str) -> Path:
        """A library: what this machine's linker adds to programs would want this machine's glibc."""
        file = self.folder / name
        command = ["cc", "-shared", "-fPIC", "-o", file, "-x", "c", "-", "-x", "none", *words]
        subprocess.run(command, input=code, text=True, check=True, timeout=60)
        return file

    def said(self, *words) -> tuple[int, str]:
        ran = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60)
        self.assertEqual(ran.stdout, "")
        return ran.returncode, ran.stderr

    def test_what_an_old_glibc_has_is_enough(self):
        file = self.linked("old", 'int puts(const char *); int f(void) { return puts("x"); }')
        self.assertEqual(self.said("--check", file), (0, f"docker/program: {file} needs no more than GLIBC_2.2.5\n"))

    def test_what_only_a_later_glibc_has_is_named(self):
        # As if this machine's had it: a version that is there today would be old some day.
        late = self.folder / "libc.so.6"
        script = self.folder / "versions"
        script.write_text("GLIBC_2.28 { of_2_28; };\nGLIBC_2.29 { of_2_29; };\nGLIBC_2.101 { of_2_101; };\n")
        self.linked(
            "libc.so.6",
            "void of_2_28(void) {} void of_2_29(void) {} void of_2_101(void) {}",
            "-nostdlib", "-Wl,-soname=libc.so.6", f"-Wl,--version-script={script}",
        )
        for wants, code, said in [
            (["2_28"], 0, "needs no more than GLIBC_2.28"),
            (["2_28", "2_29"], 1, "it needs GLIBC_2.29; build it by docker/program"),
            (["2_101", "2_29", "2_28"], 1, "it needs GLIBC_2.29 GLIBC_2.101; build it by docker/program"),
        ]:
            calls = "".join(f"void of_{name}(void);" for name in wants)
            body = "".join(f"of_{name}();" for name in wants)
            file = self.linked("program", f"{calls} void f(void) {{ {body} }}", "-nostdlib", late)
            answer = self.said("--check", file)
            self.assertEqual(answer[0], code, answer)
            self.assertIn(said, answer[1])

    def test_a_library_that_an_image_may_not_have_is_named(self):
        other = self.linked("libother.so.1", "void other(void) {}", "-nostdlib", "-Wl,-soname=libother.so.1")
        file = self.linked("program", "void other(void); void f(void) { other(); }", other)
        code, said = self.said("--check", file)
        self.assertEqual(code, 1)
        self.assertIn("needs libraries that an image may not have: libother.so.1", said)

    def test_what_is_no_program_is_named(self):
        self.assertEqual(self.said("--check", __file__), (1, f"docker/program: {__file__} is no x86_64 program\n"))
        self.assertEqual(self.said("--check", "/nowhere"), (1, "docker/program: there is no file /nowhere\n"))

    def test_a_wrong_command_line_is_refused(self):
        for words in [["--check"], ["--profile", "fast"], ["--profile"], ["release"]]:
            code, said = self.said(*words)
            self.assertEqual(code, 2, said)
            self.assertIn("see docker/program --help", said)


if __name__ == "__main__":
    unittest.main()
