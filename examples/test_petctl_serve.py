"""A server is started as petctl would start it, and asked."""

import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def ask(server: str, *requests: dict):
    """The exit code, the answers, what else came on stdout, and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", "from petctl_serve import Refuse, serve\n" + server],
        input="".join(json.dumps(request) + "\n" for request in requests),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    marked = [line for line in done.stdout.splitlines() if line.startswith("@petctl ")]
    other = [line for line in done.stdout.splitlines() if not line.startswith("@petctl ")]
    return done.returncode, [json.loads(line[len("@petctl ") :]) for line in marked], other, done.stderr


def shard(number: int, **more) -> dict:
    return {"id": number, "key": f"k{number}", "output": f"/out/{number}", **more}


class Serve(unittest.TestCase):
    def test_it_is_ready_then_answers_each_shard_and_ends_with_its_input(self):
        code, answers, other, _ = ask("serve(lambda shard: None)", shard(1), shard(2))
        self.assertEqual(code, 0)
        self.assertEqual(answers, [{"ready": True}, {"id": 1, "ok": True}, {"id": 2, "ok": True}])
        self.assertEqual(other, [])

    def test_a_function_is_given_what_is_known_of_the_shard(self):
        request = shard(
            1, input="/in/a", inputs=["/in/a", "/in/b"], params={"gap": "2"}, index=7, attempt=2, size=9, later="new"
        )
        _, answers, _, printed = ask(
            "serve(lambda s: print(s.key, s.output, s.input, s.inputs[1], s.params['gap'], s.index, s.attempt, s.size))",
            request,
        )
        self.assertEqual(answers[1], {"id": 1, "ok": True})
        self.assertEqual(printed.strip(), "k1 /out/1 /in/a /in/b 2 7 2 9")

    def test_an_exception_fails_its_shard_only(self):
        server = """
def run(shard):
    if shard.key == "k1":
        raise ValueError("no road")
serve(run)
"""
        code, answers, _, printed = ask(server, shard(1), shard(2))
        self.assertEqual(code, 0)
        self.assertEqual(answers[1], {"id": 1, "ok": False, "message": "ValueError: no road", "retry": True})
        self.assertEqual(answers[2], {"id": 2, "ok": True})
        self.assertIn("Traceback", printed)

    def test_a_refusal_is_not_to_be_tried_again(self):
        server = """
def run(shard):
    raise Refuse("the drive is of another sensor")
serve(run)
"""
        _, answers, _, _ = ask(server, shard(1))
        expected = {"id": 1, "ok": False, "message": "the drive is of another sensor", "retry": False}
        self.assertEqual(answers[1], expected)

    def test_what_is_printed_by_anyone_is_no_answer(self):
        server = """
import os, subprocess
def run(shard):
    print("half a line", end="")
    os.write(1, b"raw")
    subprocess.run(["sh", "-c", "echo child; cat"])
serve(run)
"""
        _, answers, other, printed = ask(server, shard(1), shard(2))
        self.assertEqual([answer.get("id") for answer in answers], [None, 1, 2])
        self.assertEqual(other, [])
        for text in ["half a line", "raw", "child"]:
            self.assertIn(text, printed)

    def test_an_exit_ends_the_process_without_an_answer(self):
        code, answers, _, _ = ask("serve(lambda shard: exit(3))", shard(1), shard(2))
        self.assertEqual((code, answers), (3, [{"ready": True}]))


if __name__ == "__main__":
    unittest.main()
