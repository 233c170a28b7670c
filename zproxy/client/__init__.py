"""The SDK: what nodes and masters run to speak the managed protocol (docs/protocol.md)."""
