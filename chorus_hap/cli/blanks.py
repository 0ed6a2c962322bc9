"""Arguments that say nothing, refused for every command at once: ``""`` is most likely a variable that isn't set."""

from __future__ import annotations

from typing import Any, TypeVar

from agent_core.errors import InvalidInput

C = TypeVar("C")


def refuse_blanks(command: C) -> C:
    """The command, and all below it, refusing every argument and option that is given and is empty or blank.

    Raises (when it is run):
        InvalidInput: one is.
    """
    of: Any = command
    for below in getattr(of, "commands", {}).values():
        refuse_blanks(below)
    for parameter in of.params:
        _watch(parameter)
    return command


def _watch(parameter: Any) -> None:
    process = parameter.process_value

    def judged(context: Any, value: Any) -> Any:
        # What was left out has its default, which may be empty; what was given is text by now, whatever it becomes.
        if context.get_parameter_source(parameter.name).name == "COMMANDLINE":
            given = value if isinstance(value, tuple | list) else (value,)
            if any(isinstance(item, str) and not item.strip() for item in given):
                raise InvalidInput(f"{_name(parameter)} is empty.", _next(parameter))
        return process(context, value)

    parameter.process_value = judged


def _name(parameter: Any) -> str:
    option = next((word for word in parameter.opts if word.startswith("--")), "")
    return option or (parameter.metavar or parameter.name).upper()


def _next(parameter: Any) -> str:
    said = "If it came from a variable, that is not set."
    return said if parameter.required else f"{said} Leave it out if you don't mean to say anything."
