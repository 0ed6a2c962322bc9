"""How a node is watched: its log, its metrics, its health, and the supervisor that restarts its services."""
