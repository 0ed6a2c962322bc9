"""Who this node is: its Ed25519 signing key, its libp2p peer id and its age key, kept in the home directory."""
