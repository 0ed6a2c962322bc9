"""The facade: every operation once, and the doors that lead to it (control socket, HTTP)."""
