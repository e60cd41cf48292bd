"""The demonstration needs the base installation alone."""

from __future__ import annotations

import subprocess
import sys


def test_the_demonstration_loads_no_optional_package():
    script = (
        "import sys; import qstore_db.demo.run, qstore_db.demo.crash\n"
        "print(sorted({'pyarrow', 'pandas', 'matplotlib', 'scipy', 'sklearn', 'PIL'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
