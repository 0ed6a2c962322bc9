"""The console's own widgets and the plain lines they paint."""
