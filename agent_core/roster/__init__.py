"""Who belongs to the cluster, with which authority, and who of them votes (SPEC section 4)."""
