"""The demo: a small model, trained by many processes that know nothing but one proxy.

    node1 ─ gradients, progress ─►┐          ┌─► master: averages, steps
    node2 ───────────────────────►│  proxy   │
    …      ◄─ parameters ─────────┘          └── answers all nodes

Leaf to root: `plan` (numbers all agree on), `corpus` (text), `model` (gradients), `training` (what data-parallel
means), then one program a process, `proxy` `master` `node` `reference`, which tell what they see as `reports`;
`children` starts them, `supervisor` follows them in a `run`, `view` draws that.

Nodes and master are a zproxy.Node and a zproxy.Master: nothing here packs a message or opens a socket.
"""
