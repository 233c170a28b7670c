"""Two nodes report their progress to a master, and a node has a message worked on, with a proxy between them.

    zproxy.Node ─► frontend [ zproxy.Proxy ] backend ◄─ zproxy.Master: services `progress`, `messages`

Nodes and masters know the proxy's address and not each other's; a request names the service it is for. All of them are
in one process here, on free ports; `zproxy run` is the same proxy as a process of its own. Run it:

    python examples/seed_walkthrough.py
"""

from __future__ import annotations

import zproxy

FREE_PORT = "tcp://127.0.0.1:0"


def progress(request: zproxy.Request) -> str:
    """The master prints what the nodes say."""
    print(f"[主控] 收到消息: {request.node} - 当前进度: {request.progress:.0f}%")
    return "消息已接收"


def messages(request: zproxy.Request) -> str:
    """Works on messages; a body that is no text never gets here."""
    return f"已处理: {request.body}"


def main() -> None:
    with zproxy.Proxy(FREE_PORT, FREE_PORT) as proxy:
        master = zproxy.Master(proxy.backend, "master")
        master.service("progress")(progress)
        master.service("messages", body=str)(messages)
        with master:
            for name, percent in (("Node1", 50), ("Node2", 75)):
                with zproxy.Node(name, proxy.frontend) as node:
                    print(f"[节点 {name}] 收到响应: {node.send_progress(percent).body}")
            with zproxy.Node("Client", proxy.frontend) as node:
                print(node.request("messages", "Hello, this is a test message.").body)


if __name__ == "__main__":
    main()
