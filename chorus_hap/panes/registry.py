"""Which class is which pane."""

from __future__ import annotations

from chorus_hap.panes.attention import AttentionPane
from chorus_hap.panes.base import Pane
from chorus_hap.panes.decisions import DecisionsPane
from chorus_hap.panes.election import ElectionPane
from chorus_hap.panes.hmmm import HmmmPane
from chorus_hap.panes.log import LogPane
from chorus_hap.panes.members import MembersPane
from chorus_hap.panes.overview import OverviewPane
from chorus_hap.panes.traffic import TrafficPane
from chorus_hap.panes.ucxl import UcxlPane

_CLASSES: dict[str, type[Pane]] = {
    cls.name_: cls
    for cls in (
        OverviewPane,
        ElectionPane,
        TrafficPane,
        MembersPane,
        HmmmPane,
        DecisionsPane,
        UcxlPane,
        LogPane,
        AttentionPane,
    )
}


def make(name: str) -> Pane:
    """A fresh pane.

    Raises:
        KeyError: no such pane.
    """
    return _CLASSES[name]()
