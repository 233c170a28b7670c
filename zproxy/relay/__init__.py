"""The relay: moves bytes, knows no service. Compiled; only zproxy._fastpath calls it."""
