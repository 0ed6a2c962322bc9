"""Gossip messages signed and verified as libp2p's StrictSign policy says, with keys and names of authors remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from libp2p.peer.id import ID
from libp2p.pubsub.pb.rpc_pb2 import Message
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

_PREFIX = PUBSUB_SIGNING_PREFIX.encode()
#: A peer id that is an Ed25519 key: identity multihash of 36 bytes, protobuf of a key of type 1 with 32 bytes.
_ED25519 = bytes.fromhex("002408011220")
_ID_BYTES = len(_ED25519) + 32
_SIGNATURE_BYTES = 64
_AUTHORS = 1024


def signed(topic: str, data: bytes, author: bytes, seqno: bytes, sign: Callable[[bytes], bytes]) -> Message:
    """A message of ours.

    Args:
        topic, data: what is said where.
        author: our peer id's bytes; it holds the key, so the message needn't.
        seqno: 8 bytes, used once.
        sign: gives the signature on bytes.
    """
    message = Message(from_id=author, data=data, seqno=seqno, topicIDs=[topic])
    message.signature = sign(_PREFIX + message.SerializeToString())
    return message


class Authors:
    """The authors whose messages were verified, so that a key is unpacked and a name made once for each."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[VerifyKey, str]] = OrderedDict()

    def verified(self, message: Message) -> str | None:
        """The author's peer id, if the signature is the author's; nothing if it isn't, or if no key can be read from the id."""
        author = message.from_id
        known = self._known.get(author)
        if known is None:
            if len(author) != _ID_BYTES or not author.startswith(_ED25519):
                return None
            known = VerifyKey(author[len(_ED25519) :]), str(ID(author))
        content = Message(from_id=author, data=message.data, seqno=message.seqno, topicIDs=message.topicIDs)
        if len(message.signature) != _SIGNATURE_BYTES:
            return None
        try:
            known[0].verify(_PREFIX + content.SerializeToString(), message.signature)
        except CryptoError:
            return None
        self._known[author] = known
        if len(self._known) > _AUTHORS:
            self._known.popitem(last=False)
        return known[1]
