"""Who leads, and the one chain of acts that a majority commits (SPEC section 5)."""
