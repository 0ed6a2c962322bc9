"""``config``: the settings in force, and where each value came from."""

from __future__ import annotations

from typing import Any

import typer

from chorus_hap.cli.app import new_group
from chorus_hap.cli.output import Cell, clean
from chorus_hap.cli.run import here

app = new_group("The settings in force.")


@app.command()
def show(
    context: typer.Context,
    origin: bool = typer.Option(False, "--origin", help="tell where each value came from"),
    key: str = typer.Argument("", help="only this section or section.key"),
) -> None:
    """Print every setting."""
    from agent_core.errors import InvalidInput
    from agent_core.nearest import nearest
    from agent_core.settings import catalogue, load

    run = here(context)
    settings = load(run.home, run.options.settings())
    known = list(catalogue())
    chosen = [s for s in known if key in ("", s.section, s.name)]
    if not chosen:
        names = [s.name for s in known]
        raise InvalidInput(f"There is no setting {key!r}.", nearest(key, names, "Leave it out to see all."))
    values: dict[str, Any] = {s.name: settings.value(s.name) for s in chosen}
    values |= {s.name: "(set, not shown)" for s in chosen if s.secret and values[s.name]}
    if run.out.json:
        run.out.data({n: {"value": v, "origin": settings.origins[n]} for n, v in values.items()} if origin else values)
    else:
        heads = ("setting", "value", "origin") if origin else ("setting", "value")
        run.out.table(
            heads,
            (
                (
                    Cell(name, "name"),
                    shown(value),
                    *(
                        [Cell(clean(settings.origins[name]), "dim" if settings.origins[name] == "default" else "")]
                        * origin
                    ),
                )
                for name, value in values.items()
            ),
        )
    run.out.say(f"home {settings.home}")
    for warning in settings.warnings:
        run.out.say(f"! {warning}")


def shown(value: Any) -> str:
    """A value as it would be written in the file."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{clean(value)}"'
        case tuple() | list():
            return "[" + ", ".join(map(shown, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{clean(k)} = {shown(v)}" for k, v in value.items()) + "}"
        case _:
            return str(value)
