"""Security: who may come in, by which name, and what they may do. Decides at handshakes; sees no message."""
