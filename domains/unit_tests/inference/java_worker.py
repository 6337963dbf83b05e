"""Runs a build of Maven or Gradle inside the sandbox and prints its reports: a line of JSON behind a word it was given.

Started as a program, of the standard library alone: nothing of the suite can be seen there. The project is read-only,
and is copied first; what was built before is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

LEFT_BEHIND = {".git", "node_modules", ".idea", ".gradle"}
BUILT = {"pom.xml": "target", **dict.fromkeys(("build.gradle", "build.gradle.kts"), "build")}
MOST_SAID = 8000
MOST_BYTES = 8 * 2**20


def main() -> None:
    job = json.loads(sys.argv[1])
    home = Path(os.environ["TMPDIR"])
    work = home / "copy"
    found = {"code": 0, "said": "", "reports": {}, "copied": True}
    try:
        shutil.copytree(job["project"], work, symlinks=True, ignore=left_behind)
        for source, target in job["files"].items():
            (work / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / source, work / target)
    except (OSError, shutil.Error) as error:
        found |= {"copied": False, "said": str(error)[-MOST_SAID:]}
    else:
        argv = [word.replace("{home}", str(home)) for word in job["argv"]]
        done = subprocess.run(argv, cwd=work, stdin=subprocess.DEVNULL, capture_output=True)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        found |= {"code": done.returncode, "said": said[-MOST_SAID:], "reports": reports(work, job["reports"])}
    sys.stdout.write(f"\n{job['word']}{json.dumps(found)}\n")
    sys.stdout.flush()


def left_behind(folder: str, names: list[str]) -> set[str]:
    """What is not copied; `target` and `build` are what was built where a build file stands beside, else packages."""
    built = {BUILT[name] for name in names if name in BUILT}
    return (LEFT_BEHIND | built) & set(names)


def reports(work: Path, patterns: list[str]) -> dict[str, str]:
    """Texts of files by path, as many as fit."""
    found: dict[str, str] = {}
    left = MOST_BYTES
    for pattern in patterns:
        for path in sorted(work.glob(pattern)):
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= left:
                left -= path.stat().st_size
                found[path.relative_to(work).as_posix()] = path.read_text(encoding="utf-8", errors="replace")
    return found


if __name__ == "__main__":
    main()
