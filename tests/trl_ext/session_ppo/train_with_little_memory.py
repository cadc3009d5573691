"""scripts/train_ppo.py where the second process has no room for long sessions unless gradients are kept.

train_with_little_memory.py ROOM flags...      ROOM: tokens of a row
"""

import os
import sys

import torch

from scripts.train_ppo import main
from trl_ext.session_ppo import policy


def little_memory(room: int) -> None:
    class LittleMemory(policy.SessionPolicy):
        def forward(self, input_ids: torch.Tensor, *args: object, **others: object) -> dict[str, torch.Tensor]:
            if not torch.is_grad_enabled() and input_ids.shape[1] > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(input_ids, *args, **others)

    policy.SessionPolicy = LittleMemory


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        little_memory(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
