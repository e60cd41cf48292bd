"""What is said about the connection to a server is refused before anything is connected."""

from __future__ import annotations

import math
import socket
from typing import Any

import pytest

from qstore_client.target import Target
from qstore_db import QuantumDatabase
from qstore_db.errors import ConfigurationError

URL = "qstore://127.0.0.1:1"


@pytest.mark.parametrize("timeout", [math.inf, math.nan, 1e300, 10**400, 2_147_484, 0, -1.0, True, "1"])
def test_a_timeout_that_no_socket_takes_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout=.* None means no limit") as caught:
        QuantumDatabase.connect(URL, timeout=timeout)
    assert caught.value.subject == "timeout"


def test_the_longest_timeout_is_one_that_sockets_take() -> None:
    target = Target.parse(URL, None, None, {"timeout": 2_147_483})
    with socket.socket() as door:
        door.settimeout(target.timeout)
        assert door.gettimeout() == 2_147_483
