"""Names of hosts in multiaddrs, resolved as every other program of this machine does it: hosts file, search list and all."""

from __future__ import annotations

import socket

import trio

from agent_core.multiaddrs import is_quic, kind_of, multiaddr, parse_peer

#: How long the system may take to resolve a name, seconds; and the addresses of one name that are tried.
RESOLVE_S, MAX_ANSWERS = 5.0, 4
_FAMILY = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}


class Unresolved(OSError):
    """A name that stands for no address now; its text is half a sentence."""


async def resolve(address: str) -> tuple[str, ...]:
    """The addresses by IP that a peer's address stands for; one that has an IP address already is its own answer.

    The system's resolver is asked in a thread, so nobody waits but who asks.

    Raises:
        Unresolved: the name has no address, or the resolver doesn't answer in time.
        ValueError: it isn't a peer's address.
    """
    host, port, peer_id = parse_peer(address)
    family = _FAMILY.get(kind_of(address))
    if family is None:
        return (address,)
    try:
        with trio.fail_after(RESOLVE_S):
            found = await trio.socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except trio.TooSlowError as exc:
        raise Unresolved(f"the name {host} wasn't resolved within {RESOLVE_S:g} s") from exc
    except (OSError, UnicodeError) as exc:
        said = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise Unresolved(f"the name {host} can't be resolved: {said}") from exc
    # An address with a zone can't be written as a multiaddr.
    hosts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found if "%" not in str(sockaddr[0]))
    if not hosts:
        raise Unresolved(f"the name {host} has no address that can be dialled")
    return tuple(multiaddr(at, port, peer_id, quic=is_quic(address)) for at in list(hosts)[:MAX_ANSWERS])
