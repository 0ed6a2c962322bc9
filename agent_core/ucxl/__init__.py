"""UCXL: addresses, their graphs of versions, citations both ways (SPEC section 8)."""
