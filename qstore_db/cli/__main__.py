"""`python -m qstore_db.cli`."""

from __future__ import annotations

import sys

from qstore_db.cli import main

sys.exit(main())
