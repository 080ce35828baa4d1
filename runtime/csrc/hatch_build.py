"""Hatchling's hook: the CPU kernels go into the wheel, or beside an editable package.

Without a compiler, or where it fails, the package is built without them, as pure Python; the engine
then says so when it starts.
"""

import runpy
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD = Path(__file__).with_name("build.py")
INSIDE = "plimsoll_runtime/kernels/libplimsoll.so"


class KernelsHook(BuildHookInterface):
    """Runs before a wheel is put together; `version` is `standard` or `editable`."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and tells hatchling of the library and of the platform it is for."""
        module = runpy.run_path(str(BUILD))
        target: Path = module["TARGET"]
        editable = version == "editable"
        if not editable:
            self._folder = tempfile.TemporaryDirectory()
            target = Path(self._folder.name) / target.name
        try:
            module["build"](target)
        except module["BuildError"] as error:
            self.app.display_warning(f"Plimsoll is built without its CPU kernels: {error}")
            if editable:
                # One from before may not fit the sources any more.
                target.unlink(missing_ok=True)
            return
        if not editable:
            build_data["force_include"][str(target)] = INSIDE
            build_data["pure_python"] = False
            # Python's version does not matter: the library is called through ctypes.
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what went into the wheel."""
        del version, build_data, artifact_path
        if self._folder is not None:
            self._folder.cleanup()
