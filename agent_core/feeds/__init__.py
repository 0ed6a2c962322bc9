"""The durable memory: every author's append-only signed log, its store and its replication (SPEC section 2)."""
