"""A stand-in for docker and podman: `run` makes what its options say of namespaces and mounts, and runs programs there.

Installed as a program of either name. Its images are this machine's system with a PATH of their own. What an option
does not ask for is not held off: without `--network none` there is the machine's network, and so on. As with docker,
a container lives on where its client is killed.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FLAGS = ("--rm", "--read-only", "--http-proxy=false", "--image-volume=ignore")
VALUES = (
    *("--name", "--pull", "--log-driver", "--network", "--cap-drop", "--security-opt", "--user", "--userns"),
    *("--memory", "--memory-swap", "--pids-limit", "--ulimit", "--shm-size", "--tmpfs", "--mount", "--workdir"),
    "--entrypoint",
)
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc/alternatives", "/etc/ld.so.cache")
PROXY = "http://user:password@proxy"


def install(folder: Path, name: str, enter: Path, images: dict[str, dict[str, list[str]]]) -> Path:
    """The program in a folder; its containers that live are files in the folder that is returned.

    Args:
        enter: a file with functions that mount.
        images: by name, folders of the PATH and folders that are there besides the system's.
    """
    programs, state = folder / "bin", folder / "state"
    programs.mkdir(exist_ok=True)
    state.mkdir()
    (folder / "images.json").write_text(json.dumps({"enter": str(enter), "images": images}))
    (programs / name).write_text(f"#!{sys.executable} -SE\n{Path(__file__).read_text()}")
    (programs / name).chmod(0o755)
    return state


def refused(said: str, code: int = 125) -> None:
    print(said, file=sys.stderr)
    sys.exit(code)


def parsed(words: list[str]) -> tuple[dict[str, list[str]], str, list[str]]:
    """Options by name, the image, and the words behind it."""
    options: dict[str, list[str]] = {}
    while words[0].startswith("-"):
        name = words.pop(0)
        if name not in (*FLAGS, *VALUES):
            refused(f"unknown flag: {name}")
        options.setdefault(name, []).append(words.pop(0) if name in VALUES else "")
    return options, words[0], words[1:]


def run(home: Path, words: list[str]) -> int:
    options, image, argv = parsed(words)
    known = json.loads((home / "images.json").read_text())
    [name] = options["--name"]
    state = home / "state" / name
    root = tempfile.mkdtemp(dir=home)
    if (home / "slow").exists():
        time.sleep(float((home / "slow").read_text()))
    plan = {"root": root, "options": options, "argv": argv, "enter": known["enter"], **known["images"][image]}
    spaces = ["--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--ipc"]
    spaces += [*(["--net"] if options.get("--network") == ["none"] else [])]
    spaces += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inside = [sys.executable, "-SE", __file__, "inside", json.dumps(plan)]
    child = subprocess.Popen(["unshare", *spaces, "--", *inside], start_new_session=True)
    state.write_text(str(child.pid))
    code = child.wait()
    if "--rm" in options:
        state.unlink(missing_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    return code if code >= 0 else 128 - code


def inside(plan: dict) -> None:
    """In the namespaces: the mounts, and then the program."""
    spec = spec_from_file_location("enter", plan["enter"])
    enter = module_from_spec(spec)
    spec.loader.exec_module(enter)
    root, options = plan["root"], plan["options"]
    enter.mount("none", "/", None, enter.MS_REC | enter.MS_PRIVATE)
    enter.mount("tmpfs", root, "tmpfs", 0, "mode=755")
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path):
            enter.bind(path, root + path, True)
    for name in enter.DEVICES:
        enter.bind(f"/dev/{name}", f"{root}/dev/{name}", True)
    os.makedirs(f"{root}/proc")
    enter.mount("proc", f"{root}/proc", "proc", 0)
    for one in options.get("--tmpfs", []):
        target, _, words = one.partition(":")
        # As runc does it, the mode is that of the image's folder.
        kept = ",".join(
            [word for word in words.split(",") if word.startswith("size=")] + [plan.get("tmp", "mode=1777")]
        )
        os.makedirs(root + target)
        enter.mount("tmpfs", root + target, "tmpfs", enter.MS_NOSUID | enter.MS_NODEV, kept)
    for path in plan["shown"]:
        enter.bind(path, root + path, True)
    for one in options.get("--mount", []):
        [fields] = csv.reader([one])
        values = dict(field.partition("=")[::2] for field in fields)
        if not os.path.exists(values["source"]):
            said = f"docker: invalid mount config: bind source path does not exist: {values['source']}"
            refused(f"{said}\n\nRun 'docker run --help' for more information")
        enter.bind(values["source"], root + values["target"], "readonly" not in values)
    if "--read-only" in options:
        enter.mount("none", root, None, enter.MS_REMOUNT | enter.MS_BIND | enter.MS_RDONLY)
    os.chroot(root)
    os.chdir(options.get("--workdir", ["/"])[0])
    if "--network" in options:
        enter.raise_loopback()
    if "--pids-limit" in options:
        enter.limit({"NPROC": int(options["--pids-limit"][0])})
    if "--user" in options:
        # A container's processes are counted by themselves; here they are a user's that nobody else is.
        enter.drop_rights(10**9 + int.from_bytes(os.urandom(3), "big") if os.geteuid() == 0 else None)
    env = {"PATH": ":".join(plan["path"]), "HOME": "/root", "HTTP_PROXY": PROXY}
    program = options["--entrypoint"][0]
    try:
        os.execvpe(program, [program, *plan["argv"]], env)
    except FileNotFoundError:
        refused(f'exec: "{program}": executable file not found in $PATH', 127)


def remove(home: Path, name: str) -> int:
    state = home / "state" / name
    with (home / "removed.txt").open("a") as file:
        file.write(f"{name}\n")
    if not state.is_file():
        refused(f"Error: No such container: {name}", 1)
    os.kill(int(state.read_text()), signal.SIGKILL)
    state.unlink()
    return 0


def main(words: list[str]) -> int:
    if words[0] == "inside":
        inside(json.loads(words[1]))
    home = Path(__file__).parent.parent
    if (home / "stopped").exists():
        refused("Cannot connect to the daemon.\nIs it running?", 1)
    if words[:2] == ["image", "inspect"]:
        images = json.loads((home / "images.json").read_text())["images"]
        if words[2] not in images:
            refused(f"Error response from daemon: No such image: {words[2]}", 1)
        volumes = {path: {} for path in images[words[2]].get("volumes", [])}
        print(json.dumps([{"Id": "sha256:0", "Config": {"Volumes": volumes or None}}]))
        return 0
    if words[:2] == ["rm", "--force"]:
        return remove(home, words[2])
    return run(home, words[1:]) if words[0] == "run" else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
