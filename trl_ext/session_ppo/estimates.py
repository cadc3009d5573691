"""What a step of session PPO takes, by formula; for docs/TRAINING.md, none of it measured.

Weights, gradients and Adam's state as in trl_ext/estimates.py; what is added is the frozen reference, the value's own
copy, the whole policy that writes replies, its keys and values, and the passes of a step.
"""

from __future__ import annotations

from dataclasses import dataclass

from trl_ext.estimates import Machine, ModelSize, activation_bytes, state_bytes

_HALF, _FULL = 2, 4  # bytes of a bfloat16 and a float32 number
_FORWARD, _FORWARD_AND_BACKWARD = 2, 8  # operations a weight and token; the second with activations checkpointed
_PASSES_OF_WEIGHTS = 3  # times that ZeRO-3 gathers the weights for a forward and backward pass, checkpointed
_PASSES_OF_GRADIENTS = 1  # ... and sends as many gradients to where they are kept
_CHUNK_COPIES = 3  # of a chunk's logits at a time: as computed, in float32, and their slope
_NAIVE_COPIES = 3  # of all logits where they are kept: the policy's, their log-softmax, and its gradient
_OVERHEAD_BYTES = 4e9


@dataclass(frozen=True, slots=True)
class StepShape:
    """What one device does in a step; lengths in tokens. Defaults: the paper's sessions, lengths as set by default."""

    sessions: int = 16
    batches: int = 3  # that replies are written in, one after the other: a layer each
    prompt: int = 992
    reply: int = 256
    starts: int = 128  # papers whose expand session is valued
    epochs: int = 2

    @property
    def tokens(self) -> int:
        return self.sessions * (self.prompt + self.reply)


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """Where a step's time goes, without what searches take."""

    writing: float
    evaluating: float
    valuing: float
    learning: float
    sending: float  # weights and gradients between GPUs, ZeRO-3; partly hidden behind the others

    @property
    def total(self) -> float:
        return self.writing + self.evaluating + self.valuing + self.learning + self.sending


def learning_bytes(model: ModelSize, gpus: int, shape: StepShape, vocabulary: int, chunk: int, adapter: float) -> float:
    """Bytes a GPU while gradients are made, one session at a time. `adapter`: weights of a LoRA, 0 = all and a value
    on its own copy."""
    if adapter:
        state = state_bytes(model, "zero3", gpus, adapter)
    else:  # policy and value learn, the reference does not
        state = 2 * state_bytes(model, "zero3", gpus) + _HALF * model.parameters / gpus
    logits = _CHUNK_COPIES * _FULL * chunk * vocabulary
    return state + activation_bytes(model, shape.prompt + shape.reply, checkpointed=True) + logits + _OVERHEAD_BYTES


def writing_bytes(model: ModelSize, gpus: int, shape: StepShape, key_values: int, adapter: float) -> float:
    """Bytes a GPU while replies are written: the whole policy beside its shares, keys and values of a batch.

    `key_values`: width of keys and values together, of a layer.
    """
    state = learning_bytes(model, gpus, StepShape(prompt=0, reply=0), 0, 0, adapter)
    cache = _HALF * shape.tokens / shape.batches * key_values * model.layers
    whole = _HALF * model.parameters if gpus > 1 else 0.0  # gathered from the shares
    return state + whole + cache


def kept_logits_bytes(shape: StepShape, vocabulary: int) -> float:
    """Bytes of what the naive pattern keeps: logits of every session's reply, in float32, several times."""
    return _NAIVE_COPIES * _FULL * shape.sessions * shape.reply * vocabulary


def step_seconds(
    model: ModelSize, machine: Machine, shape: StepShape, memory_bandwidth: float, link_bandwidth: float
) -> StepSeconds:
    """Seconds of a step, all weights trained, value on its own copy, ZeRO-3.

    `memory_bandwidth` of a GPU, `link_bandwidth` between GPUs, bytes a second. A token that is written reads all
    weights once for the whole batch; everything else is bound by computing. Half of each bandwidth is reached.
    """
    flops = machine.peak_flops * machine.utilization
    evaluated = _FORWARD * model.parameters * shape.tokens  # reference; the others tell as they learn
    learnt = 2 * _FORWARD_AND_BACKWARD * model.parameters * shape.tokens * shape.epochs  # policy, value
    valued = _FORWARD * model.parameters * shape.starts * shape.prompt
    others = _HALF * model.parameters * (machine.gpus - 1) / machine.gpus  # the share that comes from other GPUs
    # policy and value learn, ...
    times = 2 * (_PASSES_OF_WEIGHTS + _PASSES_OF_GRADIENTS) * shape.epochs * shape.sessions
    times += shape.sessions + 2  # ... the reference is asked with them, the policy writes, the value values papers
    return StepSeconds(
        writing=shape.batches * shape.reply * _HALF * model.parameters / (memory_bandwidth / 2),
        evaluating=evaluated / flops,
        valuing=valued / flops,
        learning=learnt / flops,
        sending=times * others / (link_bandwidth / 2),
    )
