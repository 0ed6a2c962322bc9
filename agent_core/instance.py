"""The instance file: what a home knows of itself outside its database and its keys, so that losing either is noticed.

It holds a random id that the database knows too (a restored or copied home is told by that, SPEC section 2), the last epoch
opened, and since the home was enrolled as whom, and where. Every field but the first came later: a file without them is completed
at the next start.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent_core.errors import StoreError
from agent_core.home import write_whole

#: What stands for a file that is there and can't be read: it is no database's instance.
UNREADABLE = "unreadable"


class Instance(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the file says. Empty is not known, or not so yet."""

    id: str
    epoch: int = 0
    peer_id: str = ""
    kind: str = ""
    agent_id: str = ""
    cluster: str = ""  #: the id of the cluster the home was enrolled in


def read_instance(path: Path) -> Instance | None:
    """What the instance file says; nothing if there is none.

    Raises:
        StoreError: it can't be read at all.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(4096), type=Instance)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Instance(UNREADABLE)
    except OSError as exc:
        raise StoreError(
            f"{path} can't be read: {exc.strerror or exc}.",
            "Mend its permissions, or remove it: the home then goes on as one that was restored.",
        ) from exc


def write_instance(path: Path, instance: Instance) -> None:
    """Write the file, whole and on disk when this returns.

    Raises:
        StoreError: it can't be written.
    """
    write_whole(path, msgspec.json.encode(instance) + b"\n")
