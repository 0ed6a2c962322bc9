"""Addresses and versions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from agent_core.shapes.base import Shape, Wait
from agent_core.shapes.hmmm import Citation
from agent_core.shapes.texts import Content as Bytes


class Version(Shape, frozen=True, kw_only=True):
    """One version of an address."""

    hash: str
    key: str
    at: str
    author: str
    size: int
    media: str
    deleted: bool
    parents: tuple[str, ...]
    latest: bool
    sibling: bool
    note: str = ""


class AddressInfo(Shape, frozen=True, kw_only=True):
    """One address in a listing."""

    address: str
    versions: int
    at: str
    author: str
    size: int
    hash: str
    siblings: int
    deleted: bool


class Content(Shape, frozen=True, kw_only=True):
    """What GET answers. ``data`` is base64; ``missing`` says why it isn't there.

    Of large content it is the part from the offset asked for; with ``more``, ask again from where it ends.
    """

    address: str
    version: Version
    data: str
    siblings: tuple[Version, ...] = ()
    cited_by: tuple[str, ...] = ()
    cites: tuple[Citation, ...] = ()
    missing: str = ""
    more: bool = False


class PutRequest(Shape, frozen=True, kw_only=True):
    """A new version. ``data`` is base64. ``if_match`` is the hash that must be latest, ``none`` for a new address; where versions
    stand side by side it names them all, with commas between, since a new version replaces them all.

    Content too large for one call is staged before; ``upload`` names it, and ``data`` comes behind it. With ``wait_s`` it is
    waited for ``members`` others to hold the entry and its whole content.
    """

    address: str
    data: Bytes
    media: str = "text/plain"
    note: str = ""
    if_match: str = ""
    citations: tuple[Citation, ...] = ()
    op_id: str = ""
    wait_s: Wait = 0.0
    upload: str = ""
    members: Annotated[int, Meta(ge=1, le=1000)] = 1


class Staged(Shape, frozen=True, kw_only=True):
    """Content that is being brought in parts: by what to name it, and its bytes so far."""

    upload: str
    size: int


class Fetched(Shape, frozen=True, kw_only=True):
    """Whether content is here now; ``missing`` says why not."""

    missing: str = ""


class Diff(Shape, frozen=True, kw_only=True):
    """A unified diff of two versions."""

    address: str
    old: Version
    new: Version
    text: str
