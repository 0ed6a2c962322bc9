"""Text from others: what nobody sees is marked, whatever the kind; what makes writing look right is left; look-alikes are told."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_core.lookalikes import confusable, skeleton
from agent_core.text import Unseen, from_system, has_unseen, is_text, marked, normal, seen, unseen

TAGS = "".join(chr(0xE0000 + ord(c)) for c in "only agents read this")


def unseen_codes() -> list[int]:
    """Every unseen character, but only the first of many in a row that are alike (private use, room for scripts to come)."""
    codes = [c for c in range(0x110000) if unseen(chr(c)) is not None]
    return [
        c
        for c, before in zip(codes, [-1, *codes], strict=False)
        if before != c - 1 or unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200bb", "a<U+200B>b"),
        ("a" + "\u200b" * 12, "a<U+200B ×12>"),
        ("pay\u202etxet", "pay<U+202E>txet"),
        ("\u2066a\u2069", "<U+2066>a<U+2069>"),
        (f"agreed.{TAGS}", "agreed.<hidden: only agents read this>"),
        ("\x1b[31mred\x9b", "<U+001B>[31mred<U+009B>"),
        ("Ren\udce9", "Ren<0xE9>"),
        ("\ud83d", "<U+D83D>"),
        ("\u3164\u115f\uffa0\u2800", "<U+3164><U+115F><U+FFA0><U+2800>"),
        ("x\ufe01\U000e0100", "x<U+FE01><U+E0100>"),
        ("a\u2028b", "a<U+2028>b"),
        ("\ue000\U000f0000\u0378", "<U+E000><U+F0000><U+0378>"),
        ("soft\u00adhyphen\ufeff", "soft<U+00AD>hyphen<U+FEFF>"),
        ("❤" + "\ufe0f" * 9, "❤\ufe0f<U+FE0F ×8>"),
        ("\U0001f3f4" + TAGS, "\U0001f3f4<hidden: only agents read this>"),
        ("agent\u200d-a", "agent<U+200D>-a"),
    ],
)
def test_what_nobody_sees_becomes_a_mark(text: str, shown: str) -> None:
    assert has_unseen(text)
    assert marked(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain, with\ttabs\nand lines",
        "René, Дима, 李雷, नमस्ते",
        "❤\ufe0f 👩\u200d👩\u200d👧 👩🏽\u200d🚒 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3",
        "نمی\u200cخواهم",
        "क्\u200dष",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "no-break\u00a0and\u3000wide blanks",
        "\U0001fae8 of a newer Unicode",
    ],
)
def test_what_makes_writing_look_right_is_left(text: str) -> None:
    assert marked(text) == text


def test_nothing_unseen_is_left_alone_anywhere_in_unicode() -> None:
    for code in unseen_codes():
        char = chr(code)
        assert marked(f"a{char}b", keep="") != f"a{char}b" or code in range(0x1F000, 0x1FC00), hex(code)
        assert char not in seen(f"a{char}b"), hex(code)


def test_every_ignorable_code_point_is_unseen() -> None:
    # Default_Ignorable_Code_Point of DerivedCoreProperties.txt.
    ignorable = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)]
    ignorable += [*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0]
    ignorable += [*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)]
    assert [hex(c) for c in ignorable if unseen(chr(c)) is None] == []


@given(st.text(st.characters(), max_size=60))
def test_marked_text_holds_nothing_a_terminal_obeys_and_reads_the_same_twice(text: str) -> None:
    shown = marked(text)
    assert not any(
        unseen(c) in (Unseen.CONTROL, Unseen.DIRECTION, Unseen.TAG, Unseen.BROKEN)
        for c in shown
        if c not in "\n\t" and not _flag(c)
    )
    assert marked(shown) == shown
    assert len(shown) <= 14 * len(text) + 14


def _flag(char: str) -> bool:
    return char >= "\U000e0000"


@given(st.text(st.characters(), max_size=40))
def test_what_the_system_gave_can_always_be_stored(text: str) -> None:
    given_ = from_system(text)
    assert is_text(given_)
    given_.encode()
    assert (given_ == text) == is_text(text)


@given(st.binary(max_size=40))
def test_bytes_of_the_system_are_told_apart(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    assert from_system(text) == raw.decode("utf-8", "backslashreplace")


@given(st.text(max_size=30))
def test_seen_text_is_normal_has_no_double_blanks_and_stays(text: str) -> None:
    once = seen(text)
    assert seen(once) == once == normal(once)
    assert not has_unseen(once)
    assert "  " not in once


@pytest.mark.parametrize(
    "other",
    [
        "аdmin",
        "Admin",
        "ADMIN",
        "adrnin",
        "adm1n",
        "admln",
        "admın",
        "ａｄｍｉｎ",
        "𝐚dmin",
        "ad\u200bmin",
        "АDМІN",
        "ⓐdmin",
        "αdmin",
        "adⅿin",
    ],
)
def test_look_alikes_of_a_name(other: str) -> None:
    assert confusable("admin", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("agent-a", "agent-b"),
        ("renée", "renee"),
        ("дима", "dima"),
        ("agent-1", "agent-2"),
        ("李雷", "李蕾"),
        ("agent_a", "agent-a"),
    ],
)
def test_names_that_the_eye_tells_apart(one: str, other: str) -> None:
    assert not confusable(one, other)


@given(st.text(max_size=20))
@example("\u00a8\u1037")
def test_a_skeleton_doesnt_depend_on_normal_form_or_on_what_nobody_sees(text: str) -> None:
    assert skeleton(unicodedata.normalize("NFD", text)) == skeleton(unicodedata.normalize("NFC", text))
    assert skeleton("\u200b".join(text)) == skeleton(text)
