"""Bodies over 32 KiB: blocks addressed by their SHA-256, fetched from who holds them."""
