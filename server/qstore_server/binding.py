"""Taking an address before anything else is done for it."""

from __future__ import annotations

import errno
import socket

from qstore_db.errors import ConfigurationError


def bind(host: str, port: int, setting: str) -> list[socket.socket]:
    """Sockets with that address, all with one port (0: any free one). Who connects is refused until they listen.

    setting: which one names the port. Raises ConfigurationError where the address cannot be had.
    """
    bound: list[socket.socket] = []
    try:
        _bind_all(bound, host, port)
    except OSError as error:
        close(bound)
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; another process may, "
            f"choose another {setting}",
            subject=setting,
        ) from error
    return bound


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _bind_all(bound: list[socket.socket], host: str, port: int) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in dict.fromkeys(found):
        actual = bound[0].getsockname()[1] if bound else port
        try:
            bound.append(_bound(family, kind, protocol, (address[0], actual, *address[2:])))
        except OSError as error:
            # A name may have an address of a family that the machine does not use.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or len(found) == 1:
                raise
    if not bound:
        raise OSError(errno.EADDRNOTAVAIL, "none of its addresses is of this machine")


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        # A server that has just ended leaves connections behind, which must not keep the next one out.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made
