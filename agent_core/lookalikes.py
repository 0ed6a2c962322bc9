"""Look-alikes: whether two names can be taken for one another by the eye.

After the skeletons of UTS 39, section 4: two texts are confusable if they have one skeleton. The table below holds
the letters of Latin, Cyrillic, Greek, Armenian, Cherokee, Coptic and Lisu that look like ASCII, with the digits and signs; letters in
circles, of mathematics and of full width come from Unicode's own compatibility decompositions. Beyond UTS 39, great and small letters
are one (``Admin`` for ``admin``), and so are ``1``, ``l`` and ``i`` (``adm1n``).

Limits: accents tell letters apart (``admin`` and ``ádmin`` are two names), and look-alikes among other scripts than ASCII's,
such as two Chinese characters, aren't known. It is a help for the eye; who somebody is, the peer id says.
"""

from __future__ import annotations

import unicodedata

from agent_core.text import unseen

#: What looks like a letter, digit or sign of ASCII, after compatibility decomposition.
_LIKE: dict[str, str] = {
    "a": "ɑαаᴀ⍺ꭺ",
    "b": "ЬƄᏏᑲᖯʙьᏼв",
    "c": "сϲᴄⅽᲐꮯ",
    "d": "ԁᏧᑯꓒ",
    "e": "еҽєꬲᴇεɛ",
    "f": "ꬵꞙſẝ",
    "g": "ɡɢցᶃ",
    "h": "һհᏂʜн",
    "i": "ıɩɪιіӏꙇᎥӀ⍳",
    "j": "јʝϳᴊ",
    "k": "кκᴋĸ",
    "l": "ʟ׀ا١۱ǀߊוןߣⵏ𐌠ꓲᛁІΙ∣⏽❘|",
    "m": "мᴍ",
    "n": "пոռηɴ",
    "o": "оοօσᴏᴑ०০੦૦௦౦೦൦๐໐၀ဝᲿჿ߀٥۵ഠంಂഃംංంⲟ",
    "p": "рρϱᴘ⍴ⲣ",
    "q": "ԛգզ",
    "r": "гᴦʀꭇꭈ",
    "s": "ѕꜱƽꮪ",
    "t": "тτᴛ",
    "u": "υսᴜʋꞟꭎꭒμ",
    "v": "νѵᴠ∨⋁ט",
    "w": "ѡԝաᴡшɯω",
    "x": "хχ×ᕁᕽ᙮⤫⤬⨯",
    "y": "уγүʏỿყɣᶌ",
    "z": "ᴢ",
    "A": "ΑАᎪᗅꓮ",
    "B": "ΒВᏴᗷꓐβ",
    "C": "СϹᏟⲤꓚ",
    "D": "Ꭰᗞᗪꓓ",
    "E": "ΕЕᎬⴹꓰ⋿",
    "F": "Ϝᖴꓝ",
    "G": "ԌᏀᏳꓖ",
    "H": "ΗНᎻᕼⲎꓧ",
    "J": "ЈᎫᒍꓙͿ",
    "K": "ΚКᏦⲔꓗ",
    "L": "Ꮮᒪꓡ",
    "M": "ΜМϺᎷᗰᛖⲘꓟ",
    "N": "ΝⲚꓠ",
    "O": "ΟОՕⲞⵔꓳଠଓ០",
    "P": "ΡРᏢᑭⲢꓑ",
    "Q": "ⵕ",
    "R": "ᎡᏒᖇꓣ",
    "S": "ЅՏᏕᏚꓢ",
    "T": "ΤТᎢⲦꓔ⊤⟙",
    "U": "Սሀᑌꓴ∪⋃",
    "V": "ѴᏙᐯⴸꓦ٧۷",
    "W": "ԜᎳᏔꓪШ",
    "X": "ΧХᚷⲬⵝꓫ╳",
    "Y": "ΥҮУᎩᎽⲨꓬ",
    "Z": "ΖᏃꓜ",
    "2": "ƧϨᒿꙄ",
    "3": "ЗӠȜƷꝪⳌɜзз",
    "4": "Ꮞ",
    "5": "Ƽ",
    "6": "бᏮⳒ",
    "8": "Ȣȣଃ৪",
    "9": "ৗ੧ꝮⳊ",
    "-": "‐‑‒–—―−⁃˗﹘➖ⲺᅳーᅳᐨႼㅡㄧ一",
    ".": "٠۰܁܂․ꓸ·•‧∙⋅᛫・",
    ":": "ː˸։׃܃܄ःઃ᛬᠃᠉⁚ꓽ꞉∶",
    "_": "‗ߺ﹍﹎﹏",
    "~": "∼⁓˜῀",
    "/": "⁄∕╱⟋⧸ノ丶",
    "'": "‘’‛′ʹʼʻʽ`´ˈˊˋꞌ",
    "+": "᛭➕",
    "*": "∗⁎٭",
}
#: What looks alike within ASCII, several letters that look like one included: spelled so that both sides become the same.
_WITHIN = {"0": "o", "1": "l", "i": "l", "|": "l", "m": "rn", "w": "vv"}
_ALIKE = {ord(c): spelled for c, spelled in _WITHIN.items()}
_PROTOTYPE = {ord(c): base for base, likes in _LIKE.items() for c in likes}


def skeleton(text: str) -> str:
    """What a text looks like, spelled in plain small letters: two texts with one skeleton can be taken for one another."""
    text = _drawn(text)  # first, for what isn't drawn would keep the marks around it from their order
    # The table first, for decomposition would make ordinary letters of some; and again for what decomposition brought to light.
    for form in ("NFD", "NFKD"):
        text = unicodedata.normalize(form, text).translate(_PROTOTYPE)
    plain = _drawn(text).casefold().translate(_PROTOTYPE)
    return plain.casefold().translate(_ALIKE)


def _drawn(text: str) -> str:
    return "".join(c for c in text if unseen(c) is None)


def confusable(one: str, other: str) -> bool:
    """Whether the eye can take one text for the other."""
    return skeleton(one) == skeleton(other)
