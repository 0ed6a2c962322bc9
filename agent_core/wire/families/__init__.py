"""The message types, a module per family."""
