"""The broker: decides, knows no socket. Compiled; only zproxy._fastpath calls it."""
