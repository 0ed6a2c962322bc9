"""The table of attacks in docs/fences.md, written from the catalogue: ``python -m tests.hostile.page``."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.catalogue import Attack, load

PAGE = Path(__file__).parents[2] / "docs" / "fences.md"
BEGIN, END = "<!-- the catalogue -->\n", "<!-- its end -->\n"


def row(attack: Attack) -> str:
    """One line of the table."""
    bound = attack.bound
    ends = " or ".join(end.value for end in bound.ends)
    return f"| {attack.name} | {attack.what} | {ends} | {bound.within_s:g} | {bound.cpu_s:g} | {bound.grows_mib:g} |"


def table() -> str:
    """All attacks by layer."""
    out: list[str] = []
    layer = ""
    for attack in load():
        if attack.layer != layer:
            layer = attack.layer
            out += [
                "",
                f"### {layer}",
                "",
                "| attack | what it does | ends | within s | CPU s | MiB |",
                "|---|---|---|---|---|---|",
            ]
        out.append(row(attack))
    return "\n".join([*out, "", ""])


def written(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
