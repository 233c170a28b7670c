"""Two nodes report their progress to a master, and a node has messages worked on, with a proxy between them: one by a
service that fails twice, and one by a service that always fails. Then the same with keys: a node that may use a service
is served, another hears 无权访问.

    zproxy.Node ─► frontend [ zproxy.Proxy ] backend ◄─ zproxy.Master: `progress`, `messages`, `flaky`, `broken`

Nodes and masters know the proxy's address and not each other's; a request names the service it is for. All of them are
in one process here, on free ports; `zproxy run` is the same proxy as a process of its own. Run it:

    python examples/seed_walkthrough.py
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import zproxy
from zproxy.security.keys import KeyPair, new_pair, text_of, write_secret

FREE_PORT = "tcp://127.0.0.1:0"

# What `zproxy keys init` and `keys new` write; Node2 may report its progress, and use nothing else.
REGISTRY = """
[nodes]
Node1 = {{ keys = ["{Node1}"], allow = ["messages", "progress"] }}
Node2 = {{ keys = ["{Node2}"], allow = ["progress"] }}
master = {{ keys = ["{master}"], role = "master", serve = ["*"] }}
"""


def progress(request: zproxy.Request) -> str:
    """The master prints what the nodes say."""
    print(f"[主控] 收到消息: {request.node} - 当前进度: {request.progress:.0f}%")
    return "消息已接收"


def messages(request: zproxy.Request) -> str:
    """Works on messages; a body that is no text never gets here."""
    return f"已处理: {request.body}"


def flaky(request: zproxy.Request) -> str:
    """Fails twice: the proxy delivers it again."""
    if request.attempt < 3:
        raise ConnectionError(f"第{request.attempt}次尝试失败")
    return f"第{request.attempt}次尝试成功: {request.body}"


def broken(request: zproxy.Request) -> str:
    """Fails however often it is asked."""
    raise ConnectionError("目标系统不可用")


def ask(node: zproxy.Node, service: str) -> str:
    """What a service that may fail answers within three attempts."""
    try:
        return str(node.request(service, "重要消息", retries=2).body)
    except zproxy.RetriesExhausted as error:
        return f"消息发送失败 ({error.attempt} 次尝试)"


def registry_in(folder: Path) -> dict[str, KeyPair]:
    """Makes one for three who may come in; everybody's keys, and the proxy's as `server`."""
    keys = {name: new_pair() for name in ("server", "master", "Node1", "Node2")}
    write_secret(folder / "server.key_secret", keys["server"])
    texts = {name: text_of(pair.public) for name, pair in keys.items()}
    (folder / "registry.toml").write_text(REGISTRY.format(**texts))
    return keys


def guarded(folder: Path) -> None:
    """Everybody proves by a key who he is, and all is encrypted; the registry says who may use what."""
    keys = registry_in(folder)
    server_key = keys["server"].public
    with zproxy.Proxy(FREE_PORT, FREE_PORT, registry=folder) as proxy:
        master = zproxy.Master(proxy.backend, "master", key=keys["master"], server_key=server_key)
        master.service("messages", body=str)(messages)
        with master:
            for name in ("Node1", "Node2"):
                with zproxy.Node(name, proxy.frontend, key=keys[name], server_key=server_key) as node:
                    print(f"[节点 {name}] {allowed(node)}")


def allowed(node: zproxy.Node) -> str:
    """What a node hears that may use the service, and what one that may not."""
    try:
        return str(node.request("messages", "Hello, secure world.").body)
    except zproxy.Denied as error:
        assert "无权访问" in str(error) and "access denied" in str(error)
        return "无权访问"


def main() -> None:
    logging.getLogger("zproxy.master").setLevel(logging.CRITICAL)  # the tracebacks of what fails on purpose
    with zproxy.Proxy(FREE_PORT, FREE_PORT) as proxy:
        master = zproxy.Master(proxy.backend, "master")
        master.service("progress")(progress)
        master.service("messages", body=str)(messages)
        master.service("flaky")(flaky)
        master.service("broken")(broken)
        with master:
            for name, percent in (("Node1", 50), ("Node2", 75)):
                with zproxy.Node(name, proxy.frontend) as node:
                    print(f"[节点 {name}] 收到响应: {node.send_progress(percent).body}")
            with zproxy.Node("Client", proxy.frontend) as node:
                print(node.request("messages", "Hello, this is a test message.").body)
                print(ask(node, "flaky"))
                print(ask(node, "broken"))
    with tempfile.TemporaryDirectory() as folder:
        guarded(Path(folder))


if __name__ == "__main__":
    main()
