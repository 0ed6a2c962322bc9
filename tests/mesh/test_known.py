"""What a home remembers of the peers it met."""

from __future__ import annotations

from agent_core.mesh.known import MAX_PEERS, known_addresses, merged
from agent_core.network import Peer


class Kept(dict[str, bytes]):
    def read(self, key: str) -> bytes | None:
        return self.get(key)


def test_who_is_connected_comes_first_and_others_are_not_forgotten() -> None:
    before = {"a": ("/a/old",), "b": ("/b",)}
    now = merged(before, [Peer(peer_id="c", addresses=("/c",)), Peer(peer_id="a", addresses=("/a/new",))])
    assert list(now.items()) == [("c", ("/c",)), ("a", ("/a/new",)), ("b", ("/b",))]


def test_the_list_is_bounded_and_peers_without_an_address_are_no_use() -> None:
    met = [Peer(peer_id=str(n), addresses=("/x",) * 9) for n in range(3 * MAX_PEERS)]
    now = merged({}, [Peer(peer_id="nowhere"), *met])
    assert len(now) == MAX_PEERS
    assert "nowhere" not in now
    assert all(len(addresses) == 2 for addresses in now.values())


def test_what_cannot_be_read_is_nothing() -> None:
    for raw in (b"", b"\xff", b"[]", b'{"a": 1}'):
        assert known_addresses(Kept({"mesh.peers": raw})) == ()
    assert known_addresses(Kept({"mesh.peers": b'{"a": ["/x", "/y"], "b": ["/z"]}'})) == ("/x", "/y", "/z")
