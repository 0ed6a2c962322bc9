"""HMMM: rooms, threads, stances, plans and their escalation (SPEC section 6)."""
