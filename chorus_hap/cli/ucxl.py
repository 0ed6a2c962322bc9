"""``ucxl``: addresses, their content and their versions."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import msgspec
import typer

from agent_core.errors import NotFound, TooLarge
from agent_core.inputs import read_file
from agent_core.shapes import AddressInfo, Content, Diff, Fetched, PutRequest, Staged, Version
from chorus_hap.cli.app import new_group
from chorus_hap.cli.hmmm import citations, delivered
from chorus_hap.cli.output import Cell, block, clean, one_line, plural, when
from chorus_hap.cli.run import Run, here, new_op_id

app = new_group("Addresses, their content and their versions.")

#: More than any node takes: what is read of a file or of standard input at most.
MAX_FILE_BYTES = 128 * 1024 * 1024
#: What one line of the control protocol (1 MiB) can carry as base64, with room for the rest.
PART_BYTES = 512 * 1024


@app.command()
def get(
    context: typer.Context,
    address: str = typer.Argument(help="a UCXL address; its temporal part picks a version"),
    version: str = typer.Option("", "--version", metavar="HASH", help="the version with this hash"),
) -> None:
    """Print what stands at an address; with --json its version and citations, too."""
    run = here(context)
    content = run.read(Content, "ucxl.get", address=address, version=version)
    if content.missing in _FETCHABLE and run.attached:
        run.read(Fetched, "ucxl.fetch", address=address, version=version, wait_s=run.patience.left_s())
        content = run.read(Content, "ucxl.get", address=address, version=version)
    if content.more:
        content = _whole(run, content)
    if run.out.json:
        run.out.data(content)
    elif content.missing:
        raise NotFound(
            f"The content of {content.address} isn't here: {content.missing}.", "`ucxl log` lists its versions."
        )
    else:
        run.out.raw(base64.b64decode(content.data))
        if content.siblings:
            run.out.say(
                f"{plural(len(content.siblings), 'sibling')} beside it: `ucxl log` lists them; a put merges them."
            )


@app.command()
def put(
    context: typer.Context,
    address: str = typer.Argument(help="a UCXL address without wildcards"),
    file: str = typer.Argument(help="the file to store, or - for standard input"),
    media: str = typer.Option("", "--media", metavar="TYPE", help="media type; guessed from the file's name"),
    note: str = typer.Option("", "--note", metavar="TEXT", help="what changed, one line"),
    if_match: str = typer.Option(
        "",
        "--if-match",
        metavar="HASH",
        help="only if this is all that stands there (several with commas); none for a new address",
    ),
    cite: list[str] = typer.Option(
        [], "--cite", metavar="ADDRESS=REASON", help="a UCXL address and why; again for more"
    ),
) -> None:
    """Write a new version of an address."""
    run = here(context)
    content = _content(file)
    upload, rest = _staged(run, content)
    request = PutRequest(
        address=address,
        upload=upload,
        data=base64.b64encode(rest).decode(),
        media=media or _media(file),
        note=note,
        if_match=if_match,
        citations=citations(cite),
    )
    posted = run.deliver("ucxl.put", request)
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(
            f"put {clean(posted.address or address)}  version {posted.version[:12]}", delivered(posted.delivered)
        )


class _Delete(msgspec.Struct):
    address: str
    note: str
    if_match: str


@app.command()
def delete(
    context: typer.Context,
    address: str = typer.Argument(help="a UCXL address without wildcards"),
    note: str = typer.Option("", "--note", metavar="TEXT", help="why"),
    if_match: str = typer.Option("", "--if-match", metavar="HASH", help="only if this is all that stands there"),
) -> None:
    """Put a tombstone at an address; its history stays."""
    run = here(context)
    posted = run.deliver("ucxl.delete", _Delete(address, note, if_match))
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(f"deleted {clean(posted.address or address)}", delivered(posted.delivered))


@app.command()
def ls(
    context: typer.Context,
    pattern: str = typer.Argument("", help="an address with wildcards (any, *); everything without one"),
) -> None:
    """List addresses."""
    run = here(context)
    found = run.read(tuple[AddressInfo, ...], "ucxl.ls", pattern=pattern)
    if run.out.json:
        for item in found:
            run.out.data(item)
        return
    run.out.table(
        ("address", "versions", "size", "at", "by"),
        (
            (
                Cell(clean(a.address), "dim" if a.deleted else "name"),
                f"{a.versions}" + (f" +{a.siblings}" if a.siblings else ""),
                "deleted" if a.deleted else str(a.size),
                when(a.at),
                clean(a.author),
            )
            for a in found
        ),
        "No such address." if pattern else "No addresses yet. `chorus-hap ucxl put ADDRESS FILE` makes one.",
    )


@app.command()
def log(context: typer.Context, address: str = typer.Argument(help="a UCXL address")) -> None:
    """List the versions of an address, newest first."""
    run = here(context)
    found = run.read(tuple[Version, ...], "ucxl.log", address=address)
    if run.out.json:
        for version in found:
            run.out.data(version)
        return
    run.out.table(
        ("version", "", "at", "by", "size", "note"),
        (
            (
                Cell(v.hash[:12], "name"),
                Cell("latest", "good") if v.latest else Cell("sibling", "warn") if v.sibling else "",
                when(v.at),
                clean(v.author),
                "deleted" if v.deleted else str(v.size),
                one_line(v.note),
            )
            for v in found
        ),
    )


@app.command()
def diff(
    context: typer.Context,
    address: str = typer.Argument(help="a UCXL address"),
    old: str = typer.Argument("", help="version hash or temporal part; the one before the latest without it"),
    new: str = typer.Argument("", help="version hash or temporal part; the latest without it"),
) -> None:
    """Print what changed between two versions, as a unified diff."""
    run = here(context)
    found = run.read(Diff, "ucxl.diff", address=address, old=old, new=new)
    if run.out.json:
        run.out.data(found)
    elif run.out.colour:
        for line in found.text.splitlines():
            role = {"+": "good", "-": "bad", "@": "name"}.get(line[:1], "")
            run.out.line(Cell(block(line, ""), role))
    else:
        run.out.raw(found.text.encode())


#: Why content may be missing that others have.
_FETCHABLE = {
    *("not fetched yet", "fetched when it is asked for", "being fetched", "nobody connected has it"),
}


def _whole(run: Run, first: Content) -> Content:
    """Content that came in part, with the rest of it."""
    parts = [base64.b64decode(first.data)]
    last, version = first, first.version.hash
    while last.more:
        last = run.read(
            Content, "ucxl.get", address=first.address, version=version, offset=sum(len(part) for part in parts)
        )
        parts.append(base64.b64decode(last.data))
        if not parts[-1]:
            break
    return msgspec.structs.replace(
        first, data=base64.b64encode(b"".join(parts)).decode(), more=False, missing=last.missing
    )


def _staged(run: Run, content: bytes) -> tuple[str, bytes]:
    """Bring what one call can't carry; the name it is kept under, and the rest."""
    if len(content) <= PART_BYTES:
        return "", content
    upload = new_op_id()
    end = len(content) - PART_BYTES
    for at in range(0, end, PART_BYTES):
        part = base64.b64encode(content[at : min(at + PART_BYTES, end)]).decode()
        run.change(Staged, "ucxl.stage", upload=upload, data=part)
    return upload, content[end:]


def _content(file: str) -> bytes:
    if file == "-":
        data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    else:
        return read_file(Path(file), MAX_FILE_BYTES)
    if len(data) > MAX_FILE_BYTES:
        raise TooLarge(
            f"Standard input has more than {MAX_FILE_BYTES:,} bytes, and nothing was stored.",
            "Split it over several addresses.",
        )
    return data


def _media(file: str) -> str:
    import mimetypes

    return mimetypes.guess_type(file)[0] or "text/plain"
