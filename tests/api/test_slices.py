from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from agent_core.api.slices import MAX_BATCHES_PER_S, MAX_SUBSCRIPTIONS, Reader, SliceHub, fit
from agent_core.errors import InvalidInput
from agent_core.shapes import Message, Room, RoomView, Traffic


class Counter:
    """A slice's value, and how often it was computed."""

    def __init__(self, value: Any = 0) -> None:
        self.value = value
        self.computed = 0

    def __call__(self) -> Any:
        self.computed += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
async def hub(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> SliceHub:
    hub = SliceHub()
    await nursery.start(hub.run)
    return hub


async def one(reader: Reader) -> Any:
    """The value of the next event, which is alone in its batch."""
    (event,) = await reader.receive()
    return msgspec.json.decode(event.value or b"null")


async def test_nothing_is_computed_for_nobody(hub: SliceHub) -> None:
    value = Counter()
    hub.state("status", value)
    for _ in range(5):
        hub.mark("status")
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert value.computed == 0


async def test_bursts_coalesce_and_the_latest_wins(hub: SliceHub) -> None:
    value = Counter()
    hub.state("status", value)
    reader = hub.reader()
    first = reader.subscribe(["status"])["status"]
    start = trio.current_time()
    seen = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def change() -> None:
            for n in range(1, 1001):
                value.value = n
                hub.mark("status")
                await trio.sleep(0.001)

        while not seen or seen[-1] != 1000:
            seen.append(await one(reader))
    assert seen == sorted(set(seen))
    assert len(seen) <= (trio.current_time() - start) * MAX_BATCHES_PER_S + 2
    assert value.computed <= len(seen) + 2
    assert first.rev == 1


async def test_a_value_that_did_not_change_is_not_sent(hub: SliceHub) -> None:
    value = Counter("same")
    hub.state("status", value)
    reader = hub.reader()
    reader.subscribe(["status"])
    hub.mark("status")
    with trio.move_on_after(5) as scope:
        await reader.receive()
    assert scope.cancelled_caught
    assert value.computed == 2


async def test_what_changes_with_time_is_looked_at_without_a_mark(hub: SliceHub) -> None:
    hub.state("status", lambda: int(trio.current_time()), refresh_s=1.0)
    reader = hub.reader()
    reader.subscribe(["status"])
    values = [await one(reader) for _ in range(3)]
    assert values == sorted(set(values))


async def test_a_view_that_fails_costs_one_update(hub: SliceHub, caplog: pytest.LogCaptureFixture) -> None:
    value = Counter(1)
    hub.state("status", value)
    reader = hub.reader()
    reader.subscribe(["status"])
    value.value = ZeroDivisionError("oops")
    hub.mark("status")
    await trio.testing.wait_all_tasks_blocked(0.1)
    value.value = 2
    hub.mark("status")
    assert await one(reader) == 2
    assert "status" in caplog.text


async def test_a_second_reader_does_not_hide_a_change_from_the_first(hub: SliceHub) -> None:
    value = Counter(1)
    hub.state("status", value)
    first = hub.reader()
    first.subscribe(["status"])
    value.value = 2
    second = hub.reader()
    assert msgspec.json.decode(second.subscribe(["status"])["status"].value) == 2
    assert await one(first) == 2


async def test_keyed_slices_are_made_on_demand_and_let_go(hub: SliceHub) -> None:
    texts = {"a": "1", "b": "2"}
    hub.keyed("room", lambda key: texts[key])
    reader = hub.reader()
    reader.subscribe(["room:a", "room:b"])
    texts["b"] = "3"
    hub.mark("room")
    (event,) = await reader.receive()
    assert (event.slice, bytes(event.value or b"")) == ("room:b", b'"3"')
    reader.close()
    assert not hub._states


async def test_unknown_and_too_many_slices_are_refused(hub: SliceHub) -> None:
    hub.keyed("room", lambda key: key)
    reader = hub.reader()
    for name in ("nope", "room:", "room:" + "x" * 600, "status:1"):
        with pytest.raises(InvalidInput):
            reader.subscribe([name])
    with pytest.raises(InvalidInput):
        reader.subscribe([f"room:{n}" for n in range(MAX_SUBSCRIPTIONS + 1)])
    assert not reader.wanted


async def test_receiving_can_be_cancelled_without_loss(hub: SliceHub) -> None:
    hub.stream("traffic")
    reader = hub.reader()
    reader.subscribe(["traffic"])
    with trio.move_on_after(1):
        await reader.receive()
    hub.push("traffic", Traffic(n=1, at="", topic="", type="", sender="", size=0, verdict="sent"))
    (event,) = await reader.receive()
    assert (event.rev, len(event.items)) == (1, 1)


async def test_a_new_reader_sees_the_newest_items(hub: SliceHub) -> None:
    hub.stream("traffic")
    for n in range(600):
        hub.push("traffic", Traffic(n=n, at="", topic="", type="", sender="", size=0, verdict="sent"))
    snapshot = hub.reader().subscribe(["traffic"])["traffic"]
    items = msgspec.json.decode(msgspec.json.encode(snapshot.items), type=list[Traffic])
    assert [item.n for item in items] == list(range(100, 600))
    assert snapshot.rev == 600


def test_long_values_are_made_to_fit() -> None:
    assert msgspec.json.decode(fit(list(range(1000)), 100)) == list(range(31))
    messages = tuple(
        Message(
            id=str(n), key="", at="", author="", author_peer="", kind="", via="", room="r", thread="", parent="",
            intent="update", text="x" * 100,
        )
        for n in range(100)
    )  # fmt: skip
    room = RoomView(room=Room(id="r", messages=100, participants=(), last_at="", last_text=""), messages=messages)
    fitted = msgspec.json.decode(fit(room, 10_000), type=RoomView)
    assert fitted.messages
    assert fitted.messages[-1].id == "99"
