"""SessionPolicy where an engine may have spread its weights over the processes (ZeRO-3).

Passes with gradients go through what the engine made of it: all processes pass equally often, and each layer's weights
are gathered as it runs. Writing replies and passes without gradients use weights that were gathered before, so that
each process passes as often as its own sessions need, in halves too (fitting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from pasa.errors import ConfigError
from pasa.models.hf_batches import is_out_of_memory
from pasa.models.hf_loading import first_line
from trl_ext.session_ppo.policy import Part, SessionPolicy

_NO_ROOM = (
    "out of memory: a model does not fit whole beside what ZeRO-3 leaves on the device, as writing replies and valuing "
    "papers need: train with more GPUs, an adapter (--lora_rank 16 --value_body shared), or a smaller model"
)


class ShardedPolicy:
    """What SessionPolicy does, through `wrapped`, which accelerator.prepare made of `policy`."""

    def __init__(
        self, wrapped: Any, policy: SessionPolicy, is_zero3: bool, alive: Callable[[], None] = lambda: None
    ) -> None:
        """`alive` is called after every pass."""
        self._wrapped, self._policy, self._is_zero3, self._alive = wrapped, policy, is_zero3, alive
        self.passes = policy.passes

    def __call__(self, **given: Any) -> dict[str, torch.Tensor]:
        """As SessionPolicy.forward; without gradients only of parts that are `whole`."""
        alone = self._is_zero3 and not torch.is_grad_enabled()
        # forward: a hook on the outermost module, which stays there in `whole`, would wait for other processes
        said: dict[str, torch.Tensor] = self._policy.forward(**given) if alone else self._wrapped(**given)
        self._alive()
        return said

    @contextmanager
    def whole(self, parts: Iterable[Part]) -> Iterator[None]:
        """As SessionPolicy.whole: the weights are on every device, and modules gather nothing as they run.

        Raises ConfigError where there is no room for them.
        """
        if not self._is_zero3:
            yield
            return
        import deepspeed
        from trl.models.utils import add_hooks, remove_hooks

        with ExitStack() as whole:
            try:
                whole.enter_context(deepspeed.zero.GatheredParameters(self._policy.weights_of(parts)))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise ConfigError(f"{_NO_ROOM} ({first_line(error)})") from error
            remove_hooks(self._wrapped)
            try:
                yield
            finally:
                add_hooks(self._wrapped)
