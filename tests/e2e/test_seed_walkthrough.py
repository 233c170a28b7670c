"""The first example a newcomer opens does what it says, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zproxy.processes import spawn

EXAMPLE = Path(__file__).parents[2] / "examples" / "seed_walkthrough.py"

LINES = """\
[主控] 收到消息: Node1 - 当前进度: 50%
[节点 Node1] 收到响应: 消息已接收
[主控] 收到消息: Node2 - 当前进度: 75%
[节点 Node2] 收到响应: 消息已接收
已处理: Hello, this is a test message.
第3次尝试成功: 重要消息
消息发送失败 (3 次尝试)
[节点 Node1] 已处理: Hello, secure world.
[节点 Node2] 无权访问
"""


def test_the_walkthrough_prints_the_articles_lines_and_ends() -> None:
    example = spawn([sys.executable, str(EXAMPLE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    output, errors = example.communicate()
    assert (output, example.returncode) == (LINES, 0)
    assert "retried counter=managed_redelivered" in errors
    assert "Traceback" not in errors
