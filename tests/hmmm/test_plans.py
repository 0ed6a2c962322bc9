"""Plans and escalation: who must be heard, what blocks, what reopens, when a person is called."""

from __future__ import annotations

from agent_core.feeds.model import Entry
from agent_core.hmmm.fold import RoomsFold
from agent_core.hmmm.machine import Escalation, Periods, Plan, Standing, escalations, next_plan_ms, plans
from agent_core.hmmm.model import HMMM_MESSAGE, HMMM_PROCEED, MessageData, ProceedData
from tests.support.writing import START_MS, Feed

PERIODS = Periods(agents_ms=30_000, human_ms=600_000)


class Talk:
    """A room in which ``human`` is a person and the rest are agents."""

    def __init__(self) -> None:
        self.feeds = {name: Feed(name) for name in ("ann", "bob", "cyd", "human", "dee", "eve", "fay")}
        self.ms = START_MS

    def say(self, who: str, intent: str = "update", to: Entry | None = None, **rest: object) -> Entry:
        self.ms += 1
        parent = to.hash.hex() if to else ""
        data = MessageData(room="r", intent=intent, parent=parent, **rest)  # type: ignore[arg-type]
        return self.feeds[who].write(HMMM_MESSAGE, data, self.ms)

    def block(self, who: str, plan: Entry) -> Entry:
        return self.say(who, to=plan, stance="disagree", weight="blocking")

    def proceed(self, who: str, plan: Entry, *, seen: tuple[str, ...] = ()) -> Entry:
        self.ms += 1
        heads = tuple(self.feeds[name].head for name in seen)
        return self.feeds[who].write(HMMM_PROCEED, ProceedData(room="r", plan=plan.hash.hex(), seen=heads), self.ms)

    def fold(self) -> RoomsFold:
        fold = RoomsFold()
        for feed in self.feeds.values():
            fold.apply(feed.entries)
        return fold

    def plan(self) -> Plan:
        (found,) = plans(self.fold().rooms["r"], lambda p: p == "human", lambda m: m == "human", PERIODS)
        return found

    def escalations(self, *, now_ms: int = 0, proceeding: bool = False) -> list[Escalation]:
        going = frozenset(p for p in self.fold().rooms["r"].posts) if proceeding else frozenset()
        return escalations(self.fold().rooms["r"], lambda p: p == "human", going, now_ms or self.ms)


def test_alone_a_plan_proceeds_when_the_period_is_over() -> None:
    talk = Talk()
    talk.say("ann", "proposal")
    plan = talk.plan()
    assert plan.standing is Standing.OBJECTING
    assert not plan.may_proceed(START_MS + 30_000)
    assert plan.may_proceed(START_MS + 30_001)
    assert next_plan_ms([plan], "ann") == START_MS + 30_001
    assert next_plan_ms([plan], "bob") is None


def test_a_person_in_the_room_or_named_has_ten_minutes() -> None:
    talk = Talk()
    talk.say("ann", "proposal", mentions=("human",))
    assert talk.plan().period_ends_ms == START_MS + 1 + 600_000
    talk = Talk()
    talk.say("human")
    talk.say("ann", "proposal")
    assert talk.plan().period_ends_ms == START_MS + 2 + 600_000


def test_without_a_majority_heard_the_period_is_extended() -> None:
    talk = Talk()
    talk.say("bob")
    talk.say("cyd")
    plan = talk.say("ann", "proposal")
    assert not talk.plan().may_proceed(START_MS + 10**9)
    talk.say("bob", to=plan, stance="agree")
    assert talk.plan().heard == ("ann", "bob")
    assert talk.plan().may_proceed(START_MS + 10**9)


def test_only_a_blocking_objection_blocks_and_the_last_stance_counts() -> None:
    talk = Talk()
    plan = talk.say("ann", "proposal")
    talk.say("bob", to=plan, stance="disagree", weight="advisory")
    assert talk.plan().standing is Standing.OBJECTING
    talk.block("bob", plan)
    assert talk.plan().standing is Standing.BLOCKED
    talk.say("bob", to=plan, stance="agree")
    assert talk.plan().standing is Standing.OBJECTING


def test_proceed_stands_and_only_the_proposers() -> None:
    talk = Talk()
    plan = talk.say("ann", "proposal")
    talk.proceed("bob", plan)
    assert talk.plan().standing is Standing.OBJECTING
    talk.proceed("ann", plan, seen=("ann", "bob"))
    assert talk.plan().standing is Standing.PROCEEDING


def test_a_blocking_objection_that_proceed_had_not_seen_reopens() -> None:
    talk = Talk()
    plan = talk.say("ann", "proposal")
    talk.proceed("ann", plan, seen=("ann", "bob"))
    talk.block("bob", plan)
    assert talk.plan().standing is Standing.BLOCKED
    talk.say("bob", to=plan, stance="agree")
    assert talk.plan().standing is Standing.PROCEEDING, "the objection is gone, and the proceed had not overridden it"


def test_a_proceed_against_an_objection_it_saw_is_void_for_ever() -> None:
    talk = Talk()
    plan = talk.say("ann", "proposal")
    talk.block("bob", plan)
    talk.proceed("ann", plan, seen=("ann", "bob"))
    assert talk.plan().standing is Standing.BLOCKED
    talk.say("bob", to=plan, stance="agree")
    assert talk.plan().standing is Standing.OBJECTING, "it needs another proceed"
    talk.proceed("ann", plan, seen=("ann", "bob"))
    assert talk.plan().standing is Standing.PROCEEDING


def test_ten_messages_without_resolution_call_a_person() -> None:
    talk = Talk()
    root = talk.say("ann", "question")
    for n in range(8):
        talk.say("bob" if n % 2 else "ann", to=root)
    assert talk.escalations() == []
    tenth = talk.say("bob", to=root)
    (escalation,) = talk.escalations()
    assert escalation.at.hash == tenth.hash.hex()
    assert "10 messages" in escalation.why
    talk.say("human", to=root)
    assert talk.escalations() == [], "a person has come"


def test_hops_time_and_crowds_escalate_and_resolutions_do_not() -> None:
    far = Talk()
    far.say("bob", to=far.say("ann", "question"), hop_count=4)
    assert "passed on" in far.escalations()[0].why

    late = Talk()
    root = late.say("ann", "question")
    assert late.escalations(now_ms=START_MS + 30 * 60_000) == []
    assert "30 min" in late.escalations(now_ms=START_MS + 31 * 60_000)[0].why
    answer = late.say("bob", "answer", to=root)
    late.say("ann", to=answer, stance="agree")
    assert late.escalations(now_ms=START_MS + 31 * 60_000) == []

    crowd = Talk()
    root = crowd.say("ann", "proposal")
    for who in ("bob", "cyd", "dee", "eve", "fay"):
        crowd.say(who, to=root)
    assert "more than 5 agents" in crowd.escalations()[0].why
    assert crowd.escalations(proceeding=True) == []

    chat = Talk()
    root = chat.say("ann", "update")
    for _ in range(12):
        chat.say("bob", to=root)
    assert chat.escalations(now_ms=START_MS + 10**9) == [], "an update is no coordination session"


def test_a_typed_escalation_waits_for_a_person() -> None:
    talk = Talk()
    call = talk.say("ann", "escalation")
    assert talk.escalations()[0].why == "asked for a person"
    talk.say("bob", to=call)
    assert len(talk.escalations()) == 1
    talk.say("human", to=call)
    assert talk.escalations() == []
