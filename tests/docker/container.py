"""Images and what runs in them, without a daemon: unpacked layers, and namespaces of their own."""

import json
import os
import shlex
import signal
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

# What a container runtime mounts there, in part.
DEVICES = ["null", "zero", "random", "urandom"]


class Archive:
    """A docker-archive of one image."""

    def __init__(self, path: Path):
        self.path = path
        with tarfile.open(path) as archive:
            (self.manifest,) = json.load(archive.extractfile("manifest.json"))
            self.config = json.load(archive.extractfile(self.manifest["Config"]))

    def added(self) -> dict[str, tarfile.TarInfo]:
        """What its last layer holds, by path."""
        with tarfile.open(self.path) as archive, tarfile.open(
            fileobj=archive.extractfile(self.manifest["Layers"][-1])
        ) as layer:
            return {member.name.strip("/"): member for member in layer}

    def unpack(self, folder: Path) -> None:
        """Lays its layers over one another; none of those here removes anything."""
        with tarfile.open(self.path) as archive:
            for name in self.manifest["Layers"]:
                with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                    layer.extractall(folder, filter="fully_trusted", numeric_owner=True)


class Container:
    """Runs programs in an unpacked image: its root read-only, its processes alone, its first process the program."""

    def __init__(self, root: Path):
        self.root = root

    def command(self, words, user="12345:12345", binds=(), empty=(), **environment) -> list[str]:
        """The command that runs `words` there.

        `binds`: (folder or file of this machine, path there). `empty`: (path there, its mode and owner as tmpfs wants
        them), writable.
        """
        place = lambda path: self.root / path.lstrip("/")
        script = ["set -e", f"mount --rbind {self.root} {self.root}", f"mkdir -p {place('proc')} {place('dev')}"]
        script.append(f"mount -t proc proc {place('proc')}")
        script.append(f"mount -t tmpfs -o mode=755 tmpfs {place('dev')}")
        for name in DEVICES:
            script.append(f": >{place('dev')}/{name}; mount --bind /dev/{name} {place('dev')}/{name}")
        for path, options in empty:
            script.append(f"mkdir -p {place(path)}; mount -t tmpfs -o {options} tmpfs {place(path)}")
        for source, path in binds:
            made = f"mkdir -p {place(path)}"
            if not Path(source).is_dir():
                made = f"mkdir -p {place(path).parent}; : >>{place(path)}"
            script.append(f"{made}; mount --bind {shlex.quote(str(source))} {place(path)}")
        script.append(f"mount -o remount,bind,ro {self.root}")
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", **environment}
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in clean.items())
        words = " ".join(shlex.quote(str(word)) for word in words)
        group = user.partition(":")[2]
        script.append(
            f"exec env -i {given} setpriv --no-new-privs "
            f"chroot --userspec={user} --groups={group} {self.root} {words}"
        )
        script = "\n".join(script)
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]

    def run(self, words, timeout=60, **how) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words, **how), capture_output=True, text=True, timeout=timeout)

    @contextmanager
    def started(self, words, **how):
        """Runs it meanwhile; nothing of it is left."""
        started = subprocess.Popen(
            self.command(words, **how), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield started
        finally:
            # Whose children go with it.
            started.kill()
            started.communicate()


def end(started: subprocess.Popen) -> str:
    """Tells the first process of a started container to end, and waits for it: what it has said meanwhile."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    return started.communicate(timeout=30)[1]


def cannot() -> str | None:
    """Why this machine has no containers; nothing if it has."""
    if os.geteuid() != 0:
        return "it makes mounts and namespaces; run it as root"
    for program, package in [("buildah", "buildah"), ("unshare", "util-linux"), ("setpriv", "util-linux")]:
        if subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True).returncode != 0:
            return f"{program} is missing (Debian: apt-get install {package})"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    )
    if tried.returncode != 0:
        return "namespaces or mounts are not allowed here; run it in a virtual machine"
    return None


def base_image(name: str) -> Path | None:
    """A file that tests/kube/images has made, where there is one."""
    folder = os.environ.get("PETCTL_TEST_IMAGES")
    if folder:
        return Path(folder) / f"{name}.tar"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "petctl"
    found = sorted(cache.glob(f"kubernetes-*/images/{name}.tar"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None
