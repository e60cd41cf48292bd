"""The demonstration needs the extra `server`, for its certificate, and of that nothing in its own process."""

from __future__ import annotations

import subprocess
import sys

OPTIONAL = (
    "aiohttp", "cryptography", "matplotlib", "pandas", "PIL", "prometheus_client", "pyarrow", "scipy", "sklearn",
    "uvloop",
)  # fmt: skip


def test_the_demonstration_loads_no_optional_package():
    script = (
        "import sys; import qstore_db.demo.run, qstore_client\n"
        "print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *OPTIONAL], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
