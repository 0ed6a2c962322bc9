"""What passes between nodes as gossip: envelopes, the catalogue of their types, topics and judging on arrival (SPEC section 3)."""
