"""Whether what stands where a secret would is one: not a placeholder, not a reference to where it is kept, not program text."""

from __future__ import annotations

import re

_PLACEHOLDERS = re.compile(
    r"(?i)change[_.-]?(?:me|it|this)|example|placeholder|redacted|replace[_.-]?(?:me|this|with)|insert[_.-]|fixme|dummy|"
    r"(?:^|[_.-])(?:your|my|some|the|todo|sample|fake|mock)(?:[_.-]|$)|^(?:your|dummy|fake|sample)[a-z]{4}|"
    r"x{3}|\*{3}|\.{3}|-{4}|0{6}|1234567|abcdefg|not[_.-]?(?:a|the|real)[_.-]"
)
_REFERENCES = re.compile(
    r"\$[A-Za-z_{(]|\$\$|%[A-Za-z_0-9]+%|%\(|[!@#&*][A-Za-z_]+(?:$|[ .(:])|<|\{"  # a variable, a template, a YAML tag
    r"|[A-Za-z][A-Za-z0-9+.-]{0,20}:(?://|[A-Za-z]+:)"  # a URL, an ARN
    r"|[~.]{0,2}/[^/]+/|[A-Za-z]:\\|[~.]{1,2}/"  # a path
)
#: Names in program text and hyphenated words: ``config.v2.secret``, ``user_token_2``, ``my-app-secret-1``.
_WORDS = re.compile(
    r"[a-z]+[0-9]{0,4}(?:[_./:-]+(?:[a-z]+[0-9]{0,4}|[0-9]{1,4}))+|[A-Z]+(?:_[A-Z]+[0-9]{0,4}|_[0-9]{1,4})+"
)
_CALL = re.compile(r"[A-Za-z_][\w.]*\(.*\)?")
_NEXT = re.compile(r"&[A-Za-z_][\w.-]*=")
_CAMEL = re.compile(r"[a-z]+(?:[A-Z][a-z]+[0-9]{0,2}){1,6}")


def is_given(value: str) -> bool:
    """Whether a value given to a name like ``password`` looks like one that somebody uses.

    Args:
        value: what stands after the ``=`` or ``:``, without quotes.
    """
    if not any(char.isalpha() for char in value):
        return False  # a number, a date
    if _PLACEHOLDERS.search(value) or _REFERENCES.match(value):
        return False
    return not any(form.fullmatch(value) for form in (_WORDS, _CAMEL, _CALL))


def value_of(text: str) -> str:
    """The value alone, where what follows it in a query or a form came along: ``v1&user=me`` holds ``v1``."""
    found = _NEXT.search(text)
    return text[: found.start()] if found else text
