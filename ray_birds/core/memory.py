"""What Ray says, in forty lines, of a node that is short of memory: in one."""

import re

_NODE = re.compile(r"was ([\d.]+)GB used / ([\d.]+)GB limit")
_ENDED = re.compile(r"name=([^,]+),.*?memory used=([\d.]+)GB")

ADVICE = (
    "free some on that node; trials that ask for more --cpus-per-trial run fewer at a time, and a smaller "
    "--batch-size or --image-size needs less"
)


def shortage(text: str) -> str:
    """One line for Ray's text: what the node used, what was ended and what that needed; empty for other texts."""
    if "low on memory" not in text:
        return ""
    node, ended = _NODE.search(text), _ENDED.search(text)
    used = f" ({node[1]} of {node[2]} GB used)" if node else ""
    which = f", so Ray ended {ended[1]}, which used {ended[2]} GB" if ended else ""
    return f"its node was short of memory{used}{which}"
