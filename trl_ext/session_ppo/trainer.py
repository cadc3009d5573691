"""The steps of session PPO in one process.

    for each step:
      1. sessions     queries -> crawls in the environment, sampled from the policy        rollouts.py
      2. tensors      sessions -> tokens, each action's reward at the token that ended it  batch.py
      3. learning     returns, advantages, clipped losses, an optimizer step or more       step.py
      4. telling      metrics.jsonl, TensorBoard, W&B; every N steps held-out queries
      5. keeping      every N steps the policy alone, and the state to go on from          checkpoints.py

Every process makes its own sessions and does the same number of steps, whatever its sessions are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from pasa.errors import ConfigError, PasaError
from pasa.models.hf_batches import is_out_of_memory
from pasa.models.hf_loading import first_line
from pasa.results import append_line, write_json
from trl_ext.session_ppo.batch import batch_of
from trl_ext.session_ppo.checkpoints import RunState, save_policy, save_state
from trl_ext.session_ppo.engine import Engine
from trl_ext.session_ppo.metrics import session_counts, session_metrics, summed
from trl_ext.session_ppo.metrics_file import METRICS_FILE, cut_back, read_metrics
from trl_ext.session_ppo.processes import AcceleratorProcesses
from trl_ext.session_ppo.queries import QuerySampler, TrainingQuery
from trl_ext.session_ppo.rollouts import HELD_OUT, Rollouts, StepRollouts
from trl_ext.session_ppo.run_settings import PpoRun, fingerprint
from trl_ext.session_ppo.step import PpoState, ppo_step
from trl_ext.session_ppo.watchdog import Watchdog
from trl_ext.sft_card import commit_of, machine

RUN_FILE = "ppo_run.json"
FINAL_FOLDER = "policy"
ROOT = Path(__file__).resolve().parents[2]
SEEN_WITHIN_SECONDS = 60.0  # a file that another machine wrote; network file systems take their time
_STEPS_A_SEED = 1_000_000  # more than a run has
_LESS_MEMORY = "lower --forward_batch or --evaluation_batch, or set --gradient_checkpointing true"
_TOLD = ("reward_per_session", "matched_per_action", "actions_per_session", "sessions", "kl_reference", "entropy")

Tell = Callable[[str], None]


class TrainingStopped(PasaError):
    """The run cannot go on; its last checkpoint stands."""

    exit_code = 3


@dataclass
class _Progress:
    """What changes from step to step beside the models."""

    ppo: PpoState
    empty_steps: int = 0


class Trainer:
    """The loop over steps of one process."""

    def __init__(
        self,
        run: PpoRun,
        engine: Engine,
        rollouts: Rollouts,
        queries: list[TrainingQuery],
        held_out: Sequence[TrainingQuery],
        watchdog: Watchdog,
        tell: Tell,
    ) -> None:
        self._run = run
        self._engine = engine
        self._rollouts = rollouts
        self._sampler = QuerySampler(queries, run.run.seed)
        self._held_out = held_out
        self._watchdog = watchdog
        self._tell = tell
        self._rank = int(engine.accelerator.process_index)
        self._processes = AcceleratorProcesses(engine.accelerator)
        self._progress = _Progress(PpoState(0, run.ppo.kl_coefficient))
        self._folder = Path(run.run.output_dir)
        self._saved_at = -1  # the step of the newest state; nothing was kept yet

    def go_on_from(self, state: RunState) -> None:
        self._progress = _Progress(PpoState(state.step, state.kl_coefficient), state.empty_steps)
        self._sampler.taken = state.queries_taken
        if self._rank < len(state.calls_spent):
            self._rollouts.environment.budget.spent = state.calls_spent[self._rank]
        self._saved_at = state.step

    def record(self, command: str) -> None:
        """Writes how the run is made, and cuts metrics.jsonl back to the steps that were kept.

        Raises ConfigError where a process does not see what the first one wrote: each writes its part of the state.
        """
        if self._engine.accelerator.is_main_process:
            self._begin_files(command)
        self._engine.accelerator.wait_for_everyone()
        until = time.monotonic() + SEEN_WITHIN_SECONDS
        while not (self._folder / RUN_FILE).is_file():
            if time.monotonic() > until:
                raise ConfigError(
                    f"process {self._rank} does not see {self._folder / RUN_FILE}, which the first process wrote: "
                    "every process writes into output_dir, which must be on storage that all machines share"
                )
            time.sleep(0.1)

    def _begin_files(self, command: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        what = {"command": command, "commit": commit_of(ROOT), "machine": machine()}
        write_json(self._folder / RUN_FILE, {**what, "settings": asdict(self._run)})
        cut_back(self._folder / METRICS_FILE, self._saved_at)
        if self._run.run.trackers:
            options = {"wandb": {"name": self._run.run.run_name}} if self._run.run.run_name else {}
            self._engine.accelerator.init_trackers("session_ppo", init_kwargs=options)

    def run_all(self) -> dict[str, float]:
        """All steps that are left; the last step's metrics."""
        metrics: dict[str, float] = {}
        try:
            if self._wants_evaluation() and not self._is_evaluated():
                self._evaluate()
            while self._progress.ppo.step < self._run.run.steps:
                metrics = self.step()
            self._keep(is_last=True)
        except OSError as error:  # a full disk, storage that went away
            raise TrainingStopped(f"{error}: mend it and {_how_to_go_on(self._run)}") from error
        if self._run.run.trackers:
            self._engine.accelerator.end_training()
        return metrics

    def step(self) -> dict[str, float]:
        """One step of all processes; its metrics."""
        started = time.monotonic()
        state, engine = self._progress.ppo, self._engine
        number = state.step + 1
        self._watchdog.beat(f"step {number}, rollouts")
        rollouts = self._roll_out(state.step)
        rolled_out = time.monotonic()
        self._watchdog.beat(f"step {number}, waiting for other processes' rollouts")
        told = self._report(rollouts, number)
        self._watchdog.beat(f"step {number}, learning")
        engine.set_learning_rate(self._learning_rate_share(state.step), state.step < self._run.ppo.value_warmup_steps)
        batch = batch_of(rollouts.step, engine.decode, engine.pad_id)
        starts = [start.prompt_ids for start in rollouts.step.starts]
        try:
            learnt, self._progress.ppo = ppo_step(
                batch, starts, engine.model, engine.learner, self._run.ppo, state, self._processes, engine.device,
                self._run.run.seed,
            )  # fmt: skip
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            learnt = self._break_off(number, error)
        ended = time.monotonic()
        metrics = learnt | told | {"seconds": ended - started, "seconds_learning": ended - rolled_out}
        metrics |= self._fitting(number)
        self._log(number, metrics)
        self._count_empty(bool(learnt.get("sessions")))
        if number % self._run.run.save_steps == 0 or number == self._run.run.steps:
            self._keep()  # first: held-out queries take long, and what is stopped there goes on there
        if self._wants_evaluation():
            self._evaluate()
        return metrics

    def _roll_out(self, step: int) -> StepRollouts:
        queries = self._sampler.take(self._run.rollouts.search_sessions, self._rank, self._processes.count)
        # The same for all processes: what is drawn depends on the prompt too, and not on who writes the reply.
        seed = self._run.run.seed * _STEPS_A_SEED + step
        with self._engine.whole_policy():
            self._follow()
            return self._rollouts.step(queries, seed)

    def _follow(self) -> None:
        """Brings a server that writes for the policy up to date."""
        writer = self._rollouts.policy
        if hasattr(writer, "update"):
            try:
                writer.update(self._engine.policy.language_model)
            except PasaError as error:
                raise TrainingStopped(str(error)) from error
            self._engine.accelerator.wait_for_everyone()

    def _report(self, rollouts: StepRollouts, number: int) -> dict[str, float]:
        """The sessions' metrics over all processes. Raises TrainingStopped, in all processes together."""
        for line in rollouts.failures:
            self._tell(f"step {number}, process {self._rank}: {line}")
        for reason, count in sorted(rollouts.dropped.items()):
            self._tell(f"step {number}, process {self._rank}: {count} sessions not learnt from: {reason}")
        if rollouts.failed_calls:
            self._tell(f"step {number}, process {self._rank}: failed: {_listed(rollouts.failed_calls)}")
        counts = summed(session_counts(rollouts.step), self._processes)
        sums = summed(rollouts.metrics, self._processes)
        metrics = session_metrics(counts) | {n: v / self._processes.count for n, v in sums.items()}
        for name in ("sessions", "sessions_missing", "sessions_dropped", "crawls_failed", "calls_failed"):
            metrics[f"rollout/{name}"] = sums[f"rollout/{name}"]
        asked = self._rollouts.environment.asked() | {f"scores_{k}": n for k, n in self._rollouts.scorer.asked.items()}
        metrics |= {f"asked/{name}": float(n) for name, n in sorted(asked.items())}  # of this process, since it began
        if metrics["rollout/calls_failed"] and self._run.run.on_failure == "stop":
            raise TrainingStopped(
                f"step {number}: {metrics['rollout/calls_failed']:.0f} calls failed (on_failure is stop): mend it and "
                f"{_how_to_go_on(self._run)}"
            )
        return metrics

    def _break_off(self, number: int, error: RuntimeError) -> dict[str, float]:
        """Leaves a step whose gradients do not fit into memory. Raises TrainingStopped where that cannot be."""
        told = f"step {number}, process {self._rank}: out of memory ({first_line(error)})"
        # among several, weights may have moved in one process and not in another: nothing to go on from
        shares = self._processes.count > 1 or self._engine.is_deepspeed
        if shares or self._run.run.on_failure == "stop":
            raise TrainingStopped(f"{told}: {_LESS_MEMORY}, and {_how_to_go_on(self._run)}") from error
        self._tell(f"{told}: the step ends here; {_LESS_MEMORY}")
        self._engine.learner.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._progress.ppo = replace(self._progress.ppo, step=number)
        return {}

    def _count_empty(self, has_learnt: bool) -> None:
        """Raises TrainingStopped, in all processes together, after too many steps in a row that taught nothing."""
        self._progress.empty_steps = 0 if has_learnt else self._progress.empty_steps + 1
        if self._progress.empty_steps >= self._run.run.max_empty_steps:
            raise TrainingStopped(
                f"{self._progress.empty_steps} steps in a row taught nothing (max_empty_steps), as told above: mend it "
                f"and {_how_to_go_on(self._run)}"
            )

    def _fitting(self, number: int) -> dict[str, float]:
        """What of the step did not fit into memory, over all processes."""
        model = self._engine.model
        counts = {"memory_halvings": float(model.times_halved), "memory_left_out": float(model.rows_left_out)}
        model.times_halved = model.rows_left_out = 0
        if counts["memory_left_out"]:
            self._tell(
                f"step {number}, process {self._rank}: {counts['memory_left_out']:.0f} sessions or papers found do "
                "not fit into memory, even alone: nothing is learnt from them"
            )
        return summed(counts, self._processes)

    def _learning_rate_share(self, step: int) -> float:
        return 1.0 if self._run.run.lr_schedule == "constant" else 1.0 - step / self._run.run.steps

    def _wants_evaluation(self) -> bool:
        step = self._progress.ppo.step
        return step % self._run.run.eval_steps == 0 or step == self._run.run.steps

    def _is_evaluated(self) -> bool:
        """Whether metrics.jsonl, which the first process writes, has an evaluation of this step."""
        found = 0.0
        if self._engine.accelerator.is_main_process:
            lines = read_metrics(self._folder / METRICS_FILE)
            found = float(any(one["step"] == self._progress.ppo.step and "eval/queries" in one for one in lines))
        return bool(self._processes.sum(torch.tensor(found)))

    def _evaluate(self) -> None:
        """What greedy crawls find for the held-out queries, a share of them each process."""
        if not self._held_out:
            return
        step = self._progress.ppo.step
        self._watchdog.beat(f"step {step}, held-out queries")
        mine = self._held_out[self._rank :: self._processes.count]
        with self._engine.whole_policy():
            self._follow()
            records, failed = self._rollouts.evaluate(mine, self._run.held_out_agent())
        if failed:
            self._tell(f"step {step}, held-out queries, process {self._rank}: failed: {_listed(failed)}")
        sums = summed(
            {name: sum(record[name] for record in records.values()) for name in HELD_OUT}
            | {"queries": float(len(records))},
            self._processes,
        )
        count = sums["queries"]
        if count:
            metrics = {f"eval/{name}": sums[name] / count for name in HELD_OUT} | {"eval/queries": count}
            self._log(step, metrics, force=True)

    def _log(self, step: int, metrics: dict[str, float], force: bool = False) -> None:
        if not self._engine.accelerator.is_main_process or (step % self._run.run.logging_steps and not force):
            return
        append_line(self._folder / METRICS_FILE, {"step": step, **metrics})
        if self._run.run.trackers:
            self._engine.accelerator.log(metrics, step=step)
        names = [name for name in (*_TOLD, "eval/crawler_recall", "eval/actions") if name in metrics]
        self._tell(f"step {step}: " + ", ".join(f"{name} {metrics[name]:.3g}" for name in names))

    def _keep(self, is_last: bool = False) -> None:
        """The policy alone, and the state; what was kept at this step before is left."""
        state = self._progress.ppo
        self._watchdog.beat(f"step {state.step}, saving")
        if self._saved_at != state.step:
            save_policy(self._engine, self._folder / f"checkpoint-{state.step}")
            save_state(self._engine, self._folder, self._state(), fingerprint(self._run, self._processes.count))
            self._saved_at = state.step
        if is_last:
            save_policy(self._engine, self._folder / FINAL_FOLDER)

    def _state(self) -> RunState:
        spent = torch.tensor([self._rollouts.environment.budget.spent], device=self._engine.device)
        calls = self._engine.accelerator.gather(spent).tolist()
        state = self._progress.ppo
        return RunState(
            state.step, state.kl_coefficient, self._sampler.taken, self._progress.empty_steps, tuple(map(int, calls))
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _how_to_go_on(run: PpoRun) -> str:
    return f"run the command again: it goes on from the last checkpoint in {run.run.output_dir}"
