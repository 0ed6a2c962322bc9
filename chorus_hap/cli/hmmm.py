"""``hmmm``: rooms and what is said in them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import typer

from agent_core.errors import InvalidInput
from agent_core.feeds.model import MAX_BODY_BYTES
from agent_core.shapes import Citation, Message, PostRequest, Room, RoomView, Stances
from chorus_hap.cli.app import new_group
from chorus_hap.cli.numbers import limit_option
from chorus_hap.cli.output import Cell, Output, block, clean, one_line, plural, when
from chorus_hap.cli.run import Run, here, text_from

app = new_group("Rooms and what is said in them.")


@app.command()
def rooms(context: typer.Context) -> None:
    """List the rooms, the one spoken in last first."""
    run = here(context)
    found = run.read(tuple[Room, ...], "hmmm.rooms")
    if run.out.json:
        for room in found:
            run.out.data(room)
        return
    run.out.table(
        ("room", "messages", "people", "last", "plan", "said"),
        (
            (
                Cell(clean(r.id) + (" !" if r.escalated else ""), "name"),
                str(r.messages),
                str(len(r.participants)),
                when(r.last_at),
                r.plan or "-",
                one_line(r.last_text)[:60],
            )
            for r in found
        ),
        "No rooms yet. `chorus-hap hmmm post ROOM TEXT` opens one.",
    )


@app.command()
def show(
    context: typer.Context,
    room: str = typer.Argument(help="room id"),
    limit: int = limit_option(200, "--limit", help="newest messages at most"),
) -> None:
    """Print a room with its threads."""
    run = here(context)
    view = run.read(RoomView, "hmmm.show", room=room, limit=limit)
    if run.out.json:
        run.out.data(view)
        return
    people = ", ".join(map(clean, view.room.participants))
    held = f"{view.room.held} held" if view.room.held else ""
    said = ", ".join(filter(None, (plural(view.room.messages, "message"), held, people)))
    run.out.line(Cell(clean(view.room.id), "bold"), f"  {said}")
    for message in view.messages:
        _print(run.out, message, view.stances.get(message.id))


@app.command()
def post(
    context: typer.Context,
    room: str = typer.Argument(help="room id; opened if it isn't there"),
    text: list[str] = typer.Argument(help="the message, or - for standard input"),
    intent: str = typer.Option(
        "update", "--intent", metavar="WORD", help="proposal, question, answer, update or escalation"
    ),
    reply_to: str = typer.Option("", "--reply-to", metavar="ID", help="message id, or its unique beginning"),
    cite: list[str] = typer.Option(
        [], "--cite", metavar="ADDRESS=REASON", help="a UCXL address and why; again for more"
    ),
    mention: list[str] = typer.Option([], "--mention", metavar="NAME", help="who should see it; again for more"),
    stance: str = typer.Option(
        "", "--stance", metavar="WORD", help="agree, disagree or abstain, on what it replies to"
    ),
    weight: str = typer.Option("", "--weight", metavar="WORD", help="of a disagreement: blocking or advisory"),
) -> None:
    """Say something in a room."""
    run = here(context)
    posted = run.deliver(
        "hmmm.post",
        PostRequest(
            room=room,
            text=text_from(text, MAX_BODY_BYTES, "message"),
            intent=intent,
            reply_to=reply_to,
            citations=citations(cite),
            mentions=tuple(mention),
            stance=stance,
            weight=weight,
        ),
    )
    if run.out.json:
        run.out.data(posted)
    else:
        run.out.line(f"posted {posted.id} in {clean(posted.room or room)}", delivered(posted.delivered))


@app.command()
def watch(
    context: typer.Context,
    room: str = typer.Argument("", help="room id; all rooms without one"),
    last: int = limit_option(0, "--last", help="print so many messages said before, of each room"),
) -> None:
    """Print new messages until interrupted."""
    run = here(context)
    seen: dict[str, set[str]] = {}
    events = run.watch(f"room:{room}") if room else run.watch("rooms")
    for event in events:
        if event.value is None:
            continue
        if event.slice != "rooms":
            view = msgspec.json.decode(event.value, type=RoomView)
            if not seen and not view.room.messages:  # it would say nothing for ever
                run.read(RoomView, "hmmm.show", room=room, limit=1)
            _print_new(run, seen, view, last)
            continue
        first = not seen
        known = msgspec.json.decode(event.value, type=tuple[Room, ...])
        fresh = [f"room:{r.id}" for r in known if r.id not in seen]
        seen.setdefault("", set())  # from the second list on, a room not seen before is new, and so is all of it
        for name, answer in (run.link.call("subscribe", slices=fresh) if fresh else {}).items():
            view = msgspec.convert(answer["value"], RoomView)
            if not first:
                seen.setdefault(name.removeprefix("room:"), set())
            _print_new(run, seen, view, last)


def citations(given: Iterable[str]) -> tuple[Citation, ...]:
    """``ADDRESS=REASON`` as citations.

    Raises:
        InvalidInput: one has no reason.
    """
    found = []
    for item in given:
        address, _, reason = item.partition("=")
        if not reason.strip():
            raise InvalidInput(f"The citation {item[:80]!r} has no reason.", "Write --cite ADDRESS=REASON.")
        found.append(Citation(address=address.strip(), reason=reason.strip()))
    return tuple(found)


def delivered(count: int) -> Cell:
    """How many others hold it, for the end of a line."""
    return Cell(f"  (held by {plural(count, 'other member')})" if count else "", "dim")


def _print_new(run: Run, seen: dict[str, set[str]], view: RoomView, last: int) -> None:
    ids = {message.id for message in view.messages}
    if view.room.id not in seen:
        newest = sorted(view.messages, key=lambda message: message.at)[-last:] if last else []
        seen[view.room.id] = ids - {message.id for message in newest}
    for message in sorted(view.messages, key=lambda message: message.at):
        if message.id in seen[view.room.id]:
            continue
        if run.out.json:
            run.out.data(message)
        else:
            _print(run.out, message, None, room=True)
    seen[view.room.id] |= ids


def _print(out: Output, message: Message, stances: Stances | None, room: bool = False) -> None:
    where = f"{clean(message.room)}  " if room else ""
    reply = f" to {message.parent}" if message.parent else ""
    stance = f", {message.stance} {message.weight}".rstrip() if message.stance else ""
    tally = ""
    if stances and (stances.agree or stances.disagree or stances.abstain):
        tally = f"  +{stances.agree} -{stances.disagree} ={stances.abstain}"
    out.line(
        Cell(f"{when(message.at)}  {where}", "dim"),
        Cell(clean(message.author), "name"),
        Cell(f"  {message.intent}{reply}{stance}  {message.id}{tally}", "dim"),
        Cell(f"  [held: counts from {when(message.held)}]" if message.held else "", "warn"),
    )
    out.line(block(message.text) if not message.missing else Cell(f"  [{message.missing}]", "dim"))
    for citation in message.citations:
        out.line(Cell(f"  ↳ {clean(citation.address)}  {one_line(citation.reason)}", "dim"))
