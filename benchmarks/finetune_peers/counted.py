"""pretrain_peers/launch.py, and how many tokens the model was shown: everybody must have seen the same ones.

    python counted.py MARKS.json VOCABULARY PAD (SCRIPT | -m MODULE) ARGUMENT...

Counted where the ids enter, in the embedding layer; MARKS.tokens.json gets, of each optimizer step, the ids and the real ones.
"""

from __future__ import annotations

import atexit
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "pretrain_peers"))


def count(target: Path, vocabulary: int, pad: int) -> None:
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    shown, real = [0], [0]
    at: dict[str, list[int]] = {"shown": [], "real": []}

    def look(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings >= vocabulary and inputs:
            shown[0] += inputs[0].numel()
            real[0] += int((inputs[0] != pad).sum())

    def step(*_: object) -> None:
        at["shown"].append(shown[0])
        at["real"].append(real[0])

    register_module_forward_pre_hook(look)
    register_optimizer_step_post_hook(step)
    atexit.register(lambda: target.write_text(json.dumps(at)))


if __name__ == "__main__":
    marks, vocabulary, pad, *rest = sys.argv[1:]
    count(Path(marks).with_suffix(".tokens.json"), int(vocabulary), int(pad))
    sys.argv = ["launch.py", marks, *rest]
    from launch import main

    main()
