"""Python environments of other engines, each in a folder of the cache and none in the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plimsoll" / "peers"
PYTHON = "3.11"
_MADE = ".made"


@dataclass(frozen=True)
class Environment:
    """Packages from PyPI. `version` is the engine's, and part of the folder's name; `overrides` go
    before what packages ask of each other; `renamed` are distributions that others look for by
    another name: (is called, should be called, version)."""

    name: str
    version: str
    packages: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str, str], ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return CACHE / f"{self.name}-{self.version}"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        """Installs it, unless it is there. Raises RuntimeError."""
        marker = self.folder / _MADE
        wanted = "\n".join([*self.packages, *self.overrides])
        if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
            return
        say(f"installing {self.name} {self.version} into {self.folder}")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        run(uv(), "venv", "--quiet", "--clear", "--python", PYTHON, str(self.folder))
        command = [uv(), "pip", "install", "--quiet", "--python", self.python, *self.packages]
        if self.overrides:
            overrides = self.folder / "overrides.txt"
            overrides.write_text("\n".join(self.overrides) + "\n", encoding="utf-8")
            command += ["--override", str(overrides)]
        run(*command)
        for called, wished, version in self.renamed:
            self._rename(called, wished, version)
        marker.write_text(wanted, encoding="utf-8")

    def remove(self) -> None:
        """Deletes it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rename(self, called: str, wished: str, version: str) -> None:
        """Gives an installed distribution a second name."""
        (found,) = self.folder.glob(f"lib/python*/site-packages/{called}-*.dist-info")
        copy = found.with_name(f"{wished}-{version}.dist-info")
        shutil.copytree(found, copy, dirs_exist_ok=True)
        metadata = copy / "METADATA"
        lines = metadata.read_text(encoding="utf-8").splitlines()
        head = {"Name": wished, "Version": version}
        told = [
            f"{key}: {head[key]}" if (key := line.partition(":")[0]) in head else line
            for line in lines
        ]
        metadata.write_text("\n".join(told) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def uv() -> str:
    """The program. Raises RuntimeError where there is none."""
    found = shutil.which("uv")
    if found is None:
        raise RuntimeError("uv is not on the PATH: `make bench-peers` brings it")
    return found


def run(*command: str, folder: Path | None = None) -> str:
    """What it printed. Raises RuntimeError with the end of it where it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout
