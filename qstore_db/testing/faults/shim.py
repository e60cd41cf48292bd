"""The fault shim: compiled on first use, preloaded into child processes, switched at run time."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from qstore_db.errors import ConfigurationError
from qstore_db.testing.faults.control import CONTROL_VARIABLE, FILE_SIZE, PATH_VARIABLE, FaultControl

_SOURCE = Path(__file__).with_name("shim.c")


@functools.cache
def _library() -> Path:
    """The compiled shim, in a directory that goes when this process ends.

    A directory of one's own rather than a shared cache: nobody else can put a library in it, and
    compiling takes about 0.1 s.
    """
    compiler, *flags = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler) is None:
        raise ConfigurationError(
            f"the fault shim needs a C compiler, and {compiler!r} is not on PATH: install one "
            "(Debian: apt-get install gcc libc6-dev) or name it in CC",
            subject=compiler,
        )
    directory = tempfile.mkdtemp(prefix="qstore-faults-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = Path(directory) / "shim.so"
    command = [compiler, *flags, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode != 0:
        raise ConfigurationError(
            f"{compiler} cannot compile the fault shim:\n{compiled.stderr}", subject=compiler
        )
    return library


class FaultShim(FaultControl):
    """Fails the file I/O of child processes below one directory, at moments the test chooses.

    ```
    with FaultShim() as shim:
        child = subprocess.Popen(argv, env=shim.environment(directory))
        ...
        with shim.disk_full():
            ...
        assert shim.counts.writes_failed
    ```

    Children see the faults, this process never does. What the shim cannot see: system calls made
    without the C library or inside it (a buffered stream's flush), `open`, `mkdir` and `rename` (a full
    disk may fail those as well), io_uring, and stores through a memory map.
    Raises `ConfigurationError` if there is no C compiler.
    """

    def __init__(self) -> None:
        self._library = _library()
        self._directory = tempfile.TemporaryDirectory(prefix="qstore-faults-")
        self._control = Path(self._directory.name) / "control"
        self._control.write_bytes(bytes(FILE_SIZE))
        super().__init__(self._control)

    def environment(self, directory: Path) -> dict[str, str]:
        """This process's environment with the shim added, for a child whose files below `directory`
        (itself included, symbolic links resolved) are to meet the faults."""
        preload = os.environ.get("LD_PRELOAD")
        return {
            **os.environ,
            "LD_PRELOAD": f"{self._library}:{preload}" if preload else str(self._library),
            PATH_VARIABLE: str(directory.resolve()),
            CONTROL_VARIABLE: str(self._control),
        }

    def close(self) -> None:
        """Unmap and remove the control file. A child that runs keeps its faults; none can be started."""
        super().close()
        self._directory.cleanup()
