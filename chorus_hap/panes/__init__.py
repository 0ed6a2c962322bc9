"""The panes, a module each."""
