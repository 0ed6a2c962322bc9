"""A scripted node for the console's tests: it answers operations from plain state and pushes slices into the store."""

from __future__ import annotations

import asyncio
import base64
import difflib
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from agent_core import shapes as s
from agent_core.errors import ChorusError, Conflict, NotFound
from chorus_hap.app import ConsoleApp, Options
from chorus_hap.store import Store

ME = "12D3KooWAlicexxxxxxxxxxxxxxxxxxxxxxxxxxxxxxAAAAAA"
PEERS = {
    n: f"12D3KooW{n.replace('-', '')}xxxxxxxxxxxxxxxxxxxxxxxxxxx{n[-1].upper() * 6}"
    for n in ("agent-a", "agent-b", "agent-c")
}
NETWORK = "chorus"


def at(seconds_ago: float = 0) -> str:
    """An RFC 3339 time so long ago."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="milliseconds")


def leader(name: str = "agent-b", term: int = 7, **changes: Any) -> s.Leader:
    """A certain leader."""
    given = {"certain": True, "lease_age_s": 1.2, "lease_left_s": 3600.0, **changes}
    return s.Leader(peer_id=PEERS.get(name, ME), agent_id=name, term=term, **given)


def status(**changes: Any) -> s.Status:
    """A healthy member of a mesh of three daemons and this console."""
    base = s.Status(
        peer_id=ME, agent_id="alice", role="operator", kind="human", authority="decision", network=NETWORK, cluster_id="k3v7q2mda5",
        leader=leader(), term=7, state="follower", stage="ready", voters=s.Voters(total=3, reachable=3, quorum=2), peers=3,
        addresses=(f"/ip4/127.0.0.1/tcp/9000/p2p/{ME}",), entries=128, uptime_s=754.0, version="0.1.0", home="/home/alice/.local/share/chorus-hap",
        mode="owned", sessions=1,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def score(total: float, *parts: float) -> s.ScoreParts:
    """A score with its five parts."""
    return s.ScoreParts(
        capabilities=parts[0], uptime=parts[1], resources=parts[2], network=parts[3], experience=parts[4], total=total
    )


def election(**changes: Any) -> s.Election:
    """The election of :func:`status`."""
    ballots = tuple(
        s.VoterInfo(peer_id=PEERS[n], agent_id=n, reachable=True, vote="agent-b", score=score(t, *p), you=False, leader=n == "agent-b")
        for n, t, p in (
            ("agent-a", 0.71, (0.6, 0.9, 0.7, 0.8, 0.5)), ("agent-b", 0.84, (0.9, 0.9, 0.8, 0.8, 0.7)), ("agent-c", 0.55, (0.5, 0.4, 0.7, 0.6, 0.6)),
        )
    )  # fmt: skip
    timeline = (
        s.TermInfo(term=7, leader="agent-b", trigger="heartbeat_timeout", at=at(300), certified=True),
        s.TermInfo(term=6, leader="", trigger="split_brain", at=at(308), certified=False),
        s.TermInfo(term=5, leader="agent-a", trigger="manual", at=at(4000), certified=True),
        s.TermInfo(term=4, leader="agent-c", trigger="discovery_failed", at=at(9000), certified=True),
    )
    base = s.Election(
        leader=leader(), term=7, state="follower", heartbeat_s=5.0, timeout_s=15.0, voters=s.Voters(total=3, reachable=3, quorum=2),
        ballots=ballots, timeline=timeline, last_act=12, committed_act=12, trigger="heartbeat_timeout",
        why="agent-b leads: it had the best score (0.84) of three candidates. Not you: this node is not a voter; a console's node votes only while the cluster has fewer than three voters.",
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def members() -> tuple[s.MemberInfo, ...]:
    """Three agents and you."""
    agents = tuple(
        s.MemberInfo(
            peer_id=PEERS[n], agent_id=n, role=r, kind="agent", authority="coordination", voter=True, online=True, leader=n == "agent-b",
            last_seen=at(1), entries=e, revoked=False, you=False,
        )
        for n, r, e in (("agent-a", "architect", 40), ("agent-b", "agent", 52), ("agent-c", "reviewer", 21))
    )  # fmt: skip
    you = s.MemberInfo(
        peer_id=ME, agent_id="alice", role="operator", kind="human", authority="decision", voter=False, online=True, leader=False, last_seen=at(0),
        entries=15, revoked=False, you=True,
    )  # fmt: skip
    return (*agents, you)


def peers() -> tuple[s.PeerInfo, ...]:
    """The live connections."""
    return tuple(
        s.PeerInfo(
            peer_id=PEERS[n], agent_id=n, addresses=(f"/ip4/127.0.0.1/tcp/90{i}1/p2p/{PEERS[n]}",), direction="outbound" if i else "inbound",
            connected_s=700.0 - 90 * i, rtt_ms=0.8 + i * 0.7, score=1.0 * i, entries=40 + i, member=True,
        )
        for i, n in enumerate(PEERS)
    )  # fmt: skip


def message(number: int, author: str, text: str, **changes: Any) -> s.Message:
    """A message of the room ``cache``."""
    you = author == "alice"
    base = s.Message(
        id=f"msg{number:05d}", key=f"{PEERS.get(author, ME)}/0/{number}", at=at(600 - number * 30), author=author, author_peer=PEERS.get(author, ME),
        kind="human" if you else "agent", via="console" if you else "service", room="cache", thread="", parent="", intent="update", text=text, you=you,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def room_messages() -> list[s.Message]:
    """A discussion with a plan, an objection and an answer."""
    plan = (
        "Replace the **LRU** by a *TinyLFU* admission filter.\n\n- hit rate on the trace: `0.71` → `0.83`\n- one more counter array, 64 kB\n\n"
        "I would start with the read path and leave invalidation as it is."
    )
    cite = s.Citation(
        address="ucxl://agent-a:architect@search:cache/*^/trace.md",
        reason="the measured trace",
        version="9f2c4e1ab0c3d455",
    )
    return [
        message(1, "agent-a", plan, intent="proposal", citations=(cite,), thread="msg00001"),
        message(2, "agent-c", "The counters age with a global reset; that stalls for 3 ms. Can it be incremental?", intent="question", thread="msg00001", parent="msg00001", stance="disagree", weight="blocking"),
        message(3, "agent-a", "Yes: reset 1/16th on every 4096th access. Stall is then under 200 µs.", intent="answer", thread="msg00001", parent="msg00002"),
        message(4, "alice", "Good. Then I have nothing against it.", intent="answer", thread="msg00001", parent="msg00001", stance="agree"),
        message(5, "agent-b", "Deploy window is tonight, 22:00.", thread="msg00005", mentions=("alice",)),
    ]  # fmt: skip


def rooms() -> tuple[s.Room, ...]:
    """Three rooms."""
    return (
        s.Room(id="cache", messages=5, participants=("agent-a", "agent-b", "agent-c", "alice"), last_at=at(40), last_text="Deploy window is tonight, 22:00.", plan="objecting"),
        s.Room(id="login-timeouts", messages=12, participants=("agent-b", "agent-c"), last_at=at(900), last_text="Reproduced on the staging mesh.", escalated=True),
        s.Room(id="docs", messages=2, participants=("agent-a",), last_at=at(7200), last_text="Glossary is in."),
    )  # fmt: skip


def vote(name: str, choice: str, reason: str = "", **changes: Any) -> s.Vote:
    """One voice."""
    base = s.Vote(
        voter=name,
        peer_id=PEERS.get(name, ME),
        choice=choice,
        reason=reason,
        at=at(100) if choice else "",
        counted=bool(choice),
        you=name == "alice",
    )
    return msgspec.structs.replace(base, **changes)


def decisions() -> tuple[s.Decision, ...]:
    """An open one that waits for you, one approved, one you may not vote on."""
    yes_no = ("approve", "reject")
    first = s.Decision(
        id="dcs7k2qa", title="Adopt TinyLFU in the search cache", description="The plan of room `cache`: admission filter in front of the LRU.\n\n- rollback is one flag\n- **no** change of the wire format",
        kind="architecture", address="ucxl://agent-a:architect@search:cache/*^/decisions/dcs7k2qa", proposer="agent-a", proposer_peer=PEERS["agent-a"],
        options=yes_no, rule="majority", quorum=0.5, deadline=at(-2820), at=at(780), state="open", outcome="", provisional=True,
        tally={"approve": 2, "reject": 0, "abstain": 0}, eligible=4,
        votes=(vote("agent-a", "approve", "measured gain of 12 points"), vote("agent-b", "approve", "cheap to roll back"), vote("agent-c", ""), vote("alice", "")),
        may_vote="", your_vote="", time_left_s=2820.0, waiting_for=("agent-c", "alice"),
    )  # fmt: skip
    second = msgspec.structs.replace(
        first, id="f4m2xw3e", address="ucxl://agent-a:architect@ops:staging/decisions/f4m2xw3e", title="Rotate the staging credentials every week", description="", kind="security", state="approved", outcome="approve", provisional=False,
        tally={"approve": 3, "reject": 1, "abstain": 0}, closed_by_act=11, time_left_s=0.0, at=at(90000), waiting_for=(), your_vote="approve",
        votes=(vote("agent-a", "approve", "yes"), vote("agent-b", "reject", "too often"), vote("agent-c", "approve"), vote("alice", "approve", "agreed in the review")),
        may_vote="It is approved; votes are no longer taken.",
    )  # fmt: skip
    third = msgspec.structs.replace(
        first, id="q9zt6b5n", address="ucxl://agent-a:architect@search:index/decisions/q9zt6b5n", title="Which storage engine for the new index?", options=("rocksdb", "sqlite", "own"), kind="code", rule="supermajority", tally={"rocksdb": 1, "sqlite": 2, "own": 0},
        votes=(vote("agent-a", "sqlite"), vote("agent-b", "rocksdb"), vote("agent-c", "sqlite"), vote("alice", "")), may_vote="You were enrolled after it was proposed (roster version 9).", at=at(3000), time_left_s=600.0,
    )  # fmt: skip
    return (first, second, third)


def attention() -> tuple[s.Attention, ...]:
    """Two things that wait."""
    return (
        s.Attention(id="a1", at=at(780), kind="vote", text="Adopt TinyLFU in the search cache: your vote is asked for", target="decision:dcs7k2qa", urgent=True),
        s.Attention(id="a2", at=at(450), kind="mention", text="agent-b in cache: Deploy window is tonight, 22:00.", target="room:cache"),
    )  # fmt: skip


def traffic(number: int, **changes: Any) -> s.Traffic:
    """One message as it passed."""
    kinds = ("hmmm.message", "feed.head", "availability_broadcast", "election.heartbeat", "status_update")
    base = s.Traffic(
        n=number, at=at(60 - number % 60), topic="CHORUS/coordination/v1", type=kinds[number % 5], sender=("agent-a", "agent-b", "agent-c")[number % 3], size=180 + number * 37 % 900,
        verdict="accept", text=f"message number {number}", raw=msgspec.json.format(msgspec.json.encode({"v": 1, "type": kinds[number % 5], "n": number})).decode(),
    )  # fmt: skip
    if number % 11 == 7:
        base = msgspec.structs.replace(base, verdict="reject", reason="signature doesn't hold", text="")
    return msgspec.structs.replace(base, **changes)


def log_entry(number: int, **changes: Any) -> s.LogEntry:
    """One durable entry."""
    types = ("hmmm.message", "ucxl.put", "decision.vote", "act", "act.commit", "member.hello")
    base = s.LogEntry(
        id=f"e{number:07d}", key=f"{ME}/0/{number}", at=at(400 - number * 5), author=("agent-a", "agent-b", "agent-c", "alice")[number % 4], type=types[number % 6], via="service",
        text=f"what entry {number} says", body="present",
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


class FakeSource:
    """A node that is scripted. ``calls`` keeps what was asked, ``fail`` maps a method to the error it answers."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, ChorusError] = {}
        self.left: list[bool] = []
        self.retried = 0
        self.watched: set[str] = set()
        self.stay_away = False
        self.mute = False
        self.rooms: dict[str, list[s.Message]] = {"cache": room_messages()}
        self.slices: dict[str, Any] = {
            "waiting": (),
            "status": status(), "election": election(), "members": members(), "peers": peers(), "rooms": rooms(), "decisions": decisions(),
            "ucxl": (), "attention": attention(),
        }  # fmt: skip
        self.streams: dict[str, list[Any]] = {
            "traffic": [traffic(i) for i in range(80)],
            "log": [log_entry(i) for i in range(60)],
        }
        self.texts: dict[str, list[tuple[str, str]]] = {}
        for path, author, text in (
            (
                "ucxl://agent-a:architect@search:cache/trace.md",
                "agent-a",
                "# Trace\n\n- 4.1 M requests\n- hit rate **0.71**\n",
            ),
            (
                "ucxl://agent-a:architect@search:cache/trace.md",
                "agent-a",
                "# Trace\n\n- 4.1 M requests\n- hit rate **0.71**, with TinyLFU **0.83**\n",
            ),
            ("ucxl://agent-b:agent@search:cache/deploy/plan.txt", "agent-b", "22:00 canary\n23:00 all\n"),
            ("ucxl://alice:operator@ops:oncall/rota.md", "alice", "# Rota\n\nalice, then agent-b\n"),
        ):
            self.texts.setdefault(path, []).append((author, text))
        self._addresses()

    # --- the protocol of Source ---------------------------------------------------------------------------------------

    async def run(self, store: Store) -> None:
        self.store = store
        if self.stay_away:
            return
        store.connect("attached")
        self.push_all()
        while True:
            if not self.mute:
                store.hear()
            await asyncio.sleep(0.5)

    async def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        given = params or {}
        self.calls.append((method, given))
        if method in self.fail:
            raise self.fail[method]
        answer: Callable[[dict[str, Any]], Any] = getattr(self, "on_" + method.replace(".", "_"))
        return msgspec.to_builtins(answer(given))

    async def watch(self, *slices: str) -> None:
        self.watched |= set(slices)
        for name in slices:
            if name.startswith("room:") and self.store is not None:
                self.store.put(name, self._room(name.removeprefix("room:")), 1)

    async def unwatch(self, *slices: str) -> None:
        self.watched -= set(slices)

    async def leave(self, keep_running: bool) -> None:
        self.left.append(keep_running)

    def retry(self) -> None:
        self.retried += 1

    # --- scripting ----------------------------------------------------------------------------------------------------

    def push_all(self) -> None:
        """Everything as it stands, as after an attach."""
        assert self.store is not None
        for name, value in self.slices.items():
            self.store.put(name, value, 1)
        for name, items in self.streams.items():
            self.store.snapshot(name, {"rev": 1, "items": msgspec.to_builtins(items), "dropped": 0})

    def push(self, slice: str, value: Any) -> None:
        """A new value of a state slice."""
        assert self.store is not None
        self.slices[slice] = value
        self.store.put(slice, value, self.store.rev(slice) + 1)

    def stream(self, slice: str, items: list[Any], dropped: int = 0) -> None:
        """New items of a stream."""
        assert self.store is not None
        before = self.store.ring(slice).dropped
        event = s.SliceEvent(
            slice=slice,
            rev=self.store.rev(slice) + len(items) + dropped - before,
            items=tuple(msgspec.Raw(msgspec.json.encode(i)) for i in items),
            dropped=dropped,
        )
        assert self.store.apply(event)

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every call of a method."""
        return [params for name, params in self.calls if name == method]

    # --- operations ---------------------------------------------------------------------------------------------------

    def _room(self, name: str) -> s.RoomView:
        found = self.rooms.get(name, [])
        listed = next((r for r in self.slices["rooms"] if r.id == name), None)
        room = listed or s.Room(id=name, messages=0, participants=(), last_at="", last_text="")
        return s.RoomView(
            room=msgspec.structs.replace(room, messages=len(found)),
            messages=tuple(found),
            stances={"msg00001": s.Stances(agree=1, disagree=1)},
        )

    def on_hmmm_show(self, params: dict[str, Any]) -> s.RoomView:
        return self._room(params["room"])

    def on_hmmm_post(self, params: dict[str, Any]) -> s.Posted:
        request = msgspec.convert(params, s.PostRequest)
        room = self.rooms.setdefault(request.room, [])
        number = 90 + len(room)
        parent = next((m for m in room if m.id == request.reply_to), None)
        new = message(
            number, "alice", request.text, room=request.room, intent=request.intent, parent=request.reply_to, stance=request.stance, at=at(0),
            thread=(parent.thread or parent.id) if parent else f"msg{number:05d}", citations=request.citations, mentions=request.mentions,
        )  # fmt: skip
        room.append(new)
        others = tuple(r for r in self.slices["rooms"] if r.id != request.room)
        people = tuple(sorted({m.author for m in room}))
        self.push(
            "rooms",
            (
                *others,
                s.Room(id=request.room, messages=len(room), participants=people, last_at=at(0), last_text=request.text),
            ),
        )
        assert self.store is not None
        if f"room:{request.room}" in self.watched:
            self.store.put(f"room:{request.room}", self._room(request.room), 2)
        return s.Posted(id=new.id, key=new.key, delivered=3, room=request.room)

    def on_shhh_check(self, params: dict[str, Any]) -> tuple[s.Finding, ...]:
        found = []
        for number, line in enumerate(params["text"].split("\n"), 1):
            if "AKIA" in line:
                found.append(
                    s.Finding(
                        rule="aws-access-key",
                        severity="critical",
                        line=number,
                        column=line.index("AKIA") + 1,
                        length=20,
                        message="an AWS access key id",
                    )
                )
        return tuple(found)

    def on_decisions_vote(self, params: dict[str, Any]) -> s.Posted:
        request = msgspec.convert(params, s.VoteRequest)
        out = []
        for d in self.slices["decisions"]:
            if d.id == request.id:
                tally = dict(d.tally)
                if d.your_vote:
                    tally[d.your_vote] -= 1
                tally[request.choice] = tally.get(request.choice, 0) + 1
                votes = tuple(
                    vote("alice", request.choice, request.reason, previous=d.your_vote) if v.you else v for v in d.votes
                )
                d = msgspec.structs.replace(
                    d, tally=tally, votes=votes, your_vote=request.choice, waiting_for=("agent-c",)
                )
            out.append(d)
        self.push("decisions", tuple(out))
        return s.Posted(id="v1", key=f"{ME}/0/99", delivered=2)

    def on_decisions_propose(self, params: dict[str, Any]) -> s.Posted:
        request = msgspec.convert(params, s.ProposeRequest)
        new = msgspec.structs.replace(
            decisions()[0], id="newone22", title=request.title, description=request.description, rule=request.rule, kind=request.kind, at=at(0), tally={},
            options=request.options or ("approve", "reject", "abstain"), votes=tuple(vote(n, "") for n in (*PEERS, "alice")), proposer="alice", proposer_peer=ME,
        )  # fmt: skip
        self.push("decisions", (new, *self.slices["decisions"]))
        return s.Posted(id="newone22", key=f"{ME}/0/98", delivered=2)

    def on_decisions_withdraw(self, params: dict[str, Any]) -> s.Posted:
        return s.Posted(id=params["id"], key="", delivered=0)

    def on_election_trigger(self, params: dict[str, Any]) -> None:
        return None

    on_election_resign = on_election_trigger

    def on_election_verify(self, params: dict[str, Any]) -> s.CertificateCheck:
        term = params["term"]
        votes = tuple(s.SignedVote(voter=PEERS[n], agent_id=n, good=n != "agent-c" or term > 5) for n in PEERS)
        return s.CertificateCheck(
            term=term, ok=True, leader="agent-b", peer_id=PEERS["agent-b"], roster=9, votes=votes, trigger="manual", at=at(300),
            text=f"agent-b led term {term}: 3 of 3 voters of roster version 9 signed for it, and 2 make a majority.",
        )  # fmt: skip

    def on_log_purge(self, params: dict[str, Any]) -> s.Posted:
        return s.Posted(id="p1", key=params["key"], delivered=0)

    def on_session_end_preview(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"text": "node ends (agent-b goes on leading)", "ends": True}

    def _addresses(self) -> None:
        self.slices["ucxl"] = tuple(
            s.AddressInfo(
                address=a,
                versions=len(v),
                at=at(50),
                author=v[-1][0],
                size=len(v[-1][1]),
                hash=_hash(v[-1][1]),
                siblings=0,
                deleted=False,
            )
            for a, v in self.texts.items()
        )

    def _versions(self, address: str) -> list[s.Version]:
        if address not in self.texts:
            raise NotFound(f"Nothing is kept at {address}.")
        found = self.texts[address]
        out = [
            s.Version(
                hash=_hash(text), key=f"k{i}", at=at(900 - i * 300), author=author, size=len(text), media="text/plain", deleted=False,
                parents=(_hash(found[i - 1][1]),) if i else (), latest=i == len(found) - 1, sibling=False, note="" if i else "first",
            )
            for i, (author, text) in enumerate(found)
        ]  # fmt: skip
        return out[::-1]

    def on_ucxl_log(self, params: dict[str, Any]) -> tuple[s.Version, ...]:
        return tuple(self._versions(params["address"]))

    def on_ucxl_get(self, params: dict[str, Any]) -> s.Content:
        versions = self._versions(params["address"])
        version = next((v for v in versions if v.hash == params.get("version")), versions[0])
        text = next(t for _, t in self.texts[params["address"]] if _hash(t) == version.hash)
        cited = ("ucxl://agent-a:architect@search:cache/*^/decisions/dcs7k2qa",) if "trace" in params["address"] else ()
        return s.Content(
            address=params["address"], version=version, data=base64.b64encode(text.encode()).decode(), cited_by=cited
        )

    def on_ucxl_diff(self, params: dict[str, Any]) -> s.Diff:
        by_hash = {v.hash: v for v in self._versions(params["address"])}
        texts = {_hash(t): t for _, t in self.texts[params["address"]]}
        old, new = params["old"], params["new"]
        text = "\n".join(
            difflib.unified_diff(texts[old].splitlines(), texts[new].splitlines(), "old", "new", lineterm="")
        )
        return s.Diff(address=params["address"], old=by_hash[old], new=by_hash[new], text=text)

    def on_ucxl_put(self, params: dict[str, Any]) -> s.Posted:
        request = msgspec.convert(params, s.PutRequest)
        text = base64.b64decode(request.data).decode()
        self._match(request.address, request.if_match)
        self.texts.setdefault(request.address, []).append(("alice", text))
        self._addresses()
        self.push("ucxl", self.slices["ucxl"])
        return s.Posted(id="u1", key="", delivered=1, address=request.address, version=_hash(text))

    def _match(self, address: str, if_match: str) -> None:
        stands = _hash(self.texts[address][-1][1]) if address in self.texts else "none"
        if if_match and if_match != stands:
            raise Conflict(f"{address} has moved on: its latest version is {stands}, not {if_match}.")

    def on_ucxl_delete(self, params: dict[str, Any]) -> s.Posted:
        self._match(params["address"], params.get("if_match", ""))
        return s.Posted(id="u2", key="", delivered=1, address=params["address"])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def console(home: Path, source: FakeSource | None = None, **options: Any) -> tuple[ConsoleApp, FakeSource]:
    """A console on a scripted node, not yet running."""
    node = source or FakeSource()
    return ConsoleApp(Store(), node, Options(home=home, **options)), node
