"""Discovery on the local network: mDNS through zeroconf, on named interfaces only, never on all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from agent_core.multiaddrs import parse_peer

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

log = logging.getLogger("chorus.mesh")

SERVICE = "_chorus._udp.local."
TAG = "CHORUS-peer-discovery"
#: Addresses published, and read of one service.
MAX_ADDRESSES = 4
_ANSWER_MS = 2000


class Discovery:
    """Publishes this node and reports others of the same network.

    Args:
        interfaces: IPv4 addresses of the interfaces to use.
        network: only services of this network are reported.
        peer_id: this node's.
        addresses: this node's full multiaddrs.
        found: called in trio with the multiaddrs of a node that was found.
    """

    def __init__(
        self,
        interfaces: Sequence[str],
        network: str,
        peer_id: str,
        addresses: Sequence[str],
        found: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._interfaces = list(interfaces)
        self._network = network
        self._peer_id = peer_id
        self._addresses = list(addresses)[:MAX_ADDRESSES]
        self._found = found

    async def run(self) -> None:
        """Publish and look until cancelled. zeroconf works in threads of its own; results are handed over to trio."""
        token = trio.lowlevel.current_trio_token()

        def report(addresses: tuple[str, ...]) -> None:
            try:
                trio.from_thread.run_sync(self._found, addresses, trio_token=token)
            except (trio.RunFinishedError, trio.Cancelled):
                return

        zeroconf = await trio.to_thread.run_sync(self._start, report)
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(3) as scope:
                scope.shield = True
                await trio.to_thread.run_sync(zeroconf.close, abandon_on_cancel=True)  # type: ignore[call-arg]  # stubs older than trio

    def _start(self, report: Callable[[tuple[str, ...]], None]) -> Zeroconf:
        from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

        zeroconf = Zeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)
        properties = {"tag": TAG, "network": self._network}
        properties |= {f"addr{n}": address for n, address in enumerate(self._addresses)}
        port = parse_peer(self._addresses[0])[1] if self._addresses else 0
        name = f"{self._peer_id[-32:]}.{SERVICE}"  # a DNS label has at most 63 octets
        zeroconf.register_service(
            ServiceInfo(SERVICE, name, port=port, properties=properties, parsed_addresses=self._interfaces)
        )

        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: Any) -> None:
            if state_change is ServiceStateChange.Removed or name.startswith(self._peer_id[-32:]):
                return
            info = ServiceInfo(service_type, name)
            if asked(info, zeroconf):
                addresses = read_properties(info.properties, self._network)
                if addresses:
                    report(addresses)

        ServiceBrowser(zeroconf, SERVICE, handlers=[changed])
        return zeroconf


def asked(info: ServiceInfo, zeroconf: Zeroconf) -> bool:
    """Whether it is known, or was answered within :data:`_ANSWER_MS`, what a service says of itself.

    What zeroconf raises when it is being closed, or when the machine is too busy, would end its thread and with it all looking;
    a service that isn't known yet is told of again.
    """
    from zeroconf import Error

    try:
        return info.load_from_cache(zeroconf) or info.request(zeroconf, _ANSWER_MS)
    except (Error, AssertionError, RuntimeError) as exc:  # the last two where its event loop stands already
        log.debug("%s wasn't asked: %r", info.name, exc)
        return False


def read_properties(properties: dict[bytes, bytes | None], network: str) -> tuple[str, ...]:
    """The usable multiaddrs in a TXT record; none for another network or program."""
    if properties.get(b"tag") != TAG.encode() or properties.get(b"network") != network.encode():
        return ()
    addresses: list[str] = []
    for n in range(MAX_ADDRESSES):
        address = (properties.get(b"addr%d" % n) or b"").decode("ascii", "replace")
        try:
            parse_peer(address)
        except ValueError:
            continue
        addresses.append(address)
    return tuple(addresses)
