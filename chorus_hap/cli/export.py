"""Feeds and proofs as files that other people's tools check: C2SP tlog-tiles, tlog-proof, signed-note."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from agent_core.errors import InvalidInput, Refused, StoreError
from agent_core.feeds import checkpoint
from agent_core.feeds.proofs import Tiles, tile_number
from agent_core.identity.signing import Ed25519Verifier
from agent_core.modes import as_the_user_likes
from agent_core.shapes import EntryProof, FeedPage
from chorus_hap.cli.run import Run

#: The files beside the tiles.
CHECKPOINT, VERIFIER = "checkpoint", "verifier"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    directory: str
    author: str
    epoch: int
    entries: int
    bodies: int
    verifier: str


def export(run: Run, directory: Path, author: str, epoch: int | None, bodies: bool) -> Exported:
    """Write a feed as C2SP tlog-tiles; an earlier export of it is brought up to date.

    The checkpoint comes last, when the tree made anew from the entries has the root that its author signed.

    Raises:
        InvalidInput: the directory holds something else.
        Refused: it can't be written.
        StoreError: the entries aren't what was signed; there is no new checkpoint then.
    """
    page = first = run.read(FeedPage, "log.export", author=author, epoch=epoch, bodies=bodies)
    signed = checkpoint.verify(first.checkpoint, first.author, first.epoch, Ed25519Verifier())
    _check_place(directory, checkpoint.origin(first.author, first.epoch))
    tiles, held = Tiles(), 0
    while True:
        for item in page.items[: signed.size - tiles.frontier.size]:
            if item.body is not None:
                _write(directory / "body" / tile_number(tiles.frontier.size), item.salt + item.body)
                held += 1
            _write_all(directory, tiles.add(item.header))
        if tiles.frontier.size == signed.size or not page.items:
            break
        page = run.read(
            FeedPage, "log.export", author=first.author, epoch=first.epoch, start=tiles.frontier.size, bodies=bodies
        )
    if tiles.frontier.root() != signed.root:
        raise StoreError("The entries don't lead to the root that was signed.", "Run `chorus-hap log verify`.")
    _write_all(directory, tiles.rest())
    _write(directory / VERIFIER, f"{first.verifier}\n".encode())
    _write(directory / CHECKPOINT, signed.note.encode())
    return Exported(
        directory=str(directory),
        author=first.author,
        epoch=first.epoch,
        entries=signed.size,
        bodies=held,
        verifier=first.verifier,
    )


def write_proof(proof: EntryProof, base: Path) -> tuple[Path, Path]:
    """Write an entry's header and its proof beside each other; returns both paths.

    Raises:
        Refused: they can't be written.
    """
    header, path = base.with_name(f"{base.name}.header"), base.with_name(f"{base.name}.tlog-proof")
    _write(header, proof.header)
    _write(path, proof.proof.encode())
    return header, path


def _check_place(directory: Path, origin: str) -> None:
    try:
        if not directory.exists() or not any(directory.iterdir()):
            return
        known = directory / CHECKPOINT
        if known.is_file() and known.read_bytes().startswith(f"{origin}\n".encode()):
            return
    except OSError as exc:
        _refused(directory, exc)
    raise InvalidInput(f"{directory} holds something else than an export of this feed.", "Name an empty directory.")


def _write_all(directory: Path, files: Iterator[tuple[str, bytes]]) -> None:
    for path, content in files:
        _write(directory / path, content)


def _write(path: Path, content: bytes) -> None:
    """A file, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    try:
        with as_the_user_likes():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as exc:
        _refused(path, exc)


def _refused(path: Path, exc: OSError) -> NoReturn:
    raise Refused(f"{path} can't be written: {exc.strerror}.", "Name a directory that you may write to.") from exc
