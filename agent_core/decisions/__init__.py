"""Decisions: proposals, votes, and closes by committed acts that name a cut (SPEC section 7)."""
