"""Session PPO from settings to a trained Crawler: one process or many, `accelerate launch` with a file of
configs/accelerate/. What is trained with is put together here; the steps are trainer.py's.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from transformers.utils import logging

from pasa.assembly import build_scorer, choose_model
from pasa.config import Settings
from pasa.models.base import Scorer
from pasa.result_folder import only_writer
from pasa.results import check_writable
from trl_ext.session_ppo.checkpoints import load_state, state_to_go_on_from
from trl_ext.session_ppo.engine import Engine, make_accelerator
from trl_ext.session_ppo.environment import Environment, open_environment
from trl_ext.session_ppo.queries import held_out_queries, read_training_queries, tell_unhidden
from trl_ext.session_ppo.rewards import match_scorer
from trl_ext.session_ppo.rollouts import PolicyWriter, Rollouts
from trl_ext.session_ppo.run_settings import PpoRun, fingerprint
from trl_ext.session_ppo.trainer import Tell, Trainer
from trl_ext.session_ppo.watchdog import Watchdog
from trl_ext.sft import check_processes


def train(run: PpoRun, command: str = "", tell: Tell = print, selector: Scorer | None = None) -> dict[str, float]:
    """Trains to the last step and gives the last metrics; goes on where an earlier call was stopped.

    `selector`: takes the place of the one that the settings name. Raises UserErrors before anything is trained where
    settings, data or models cannot be used, TrainingStopped later.
    """
    run = _without_expansion(run)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    accelerator = make_accelerator(run)
    rank = int(accelerator.process_index)
    processes = check_processes(int(accelerator.num_processes))
    say: Tell = tell if accelerator.is_main_process else _say_nothing
    check_writable(Path(run.run.output_dir))
    with ExitStack() as parts:
        if accelerator.is_main_process:
            parts.enter_context(only_writer(Path(run.run.output_dir), "--output_dir"))
        watchdog = parts.enter_context(Watchdog(run.run.watchdog_seconds, rank, tell))
        found = state_to_go_on_from(Path(run.run.output_dir), fingerprint(run, processes), run.run.resume)
        environment = parts.enter_context(
            open_environment(run.tools, run.rollouts.agent(), run.run.date_cut_off, run.run.call_budget)
        )
        queries = read_training_queries(Path(run.run.queries), run.run.max_queries, environment.library)
        tell_unhidden(queries, environment.cuts_off, say)
        eval_path = Path(run.run.eval_queries) if run.run.eval_queries is not None else None
        held_out = held_out_queries(eval_path, run.run.eval_limit, environment.library, queries)
        judge = (selector or selector_of(run, environment)) if run.rewards.selector_reward else None
        watchdog.beat("loading models")
        engine = Engine(run, accelerator, watchdog.pulse)
        policy = _writer(run, engine)
        scorer = match_scorer(judge, [*queries, *held_out])
        temperature, alive = run.ppo.temperature, watchdog.pulse
        rollouts = Rollouts(environment, policy, scorer, run.rollouts, run.rewards, temperature, alive)
        parts.callback(rollouts.close)
        trainer = Trainer(run, engine, rollouts, queries, held_out, watchdog, tell)
        say(f"environment: {environment.description}; rewards: {scorer.name}; {len(queries)} queries")
        _tell_models(run, engine, processes, say)
        if found:
            load_state(engine, found[0])
            trainer.go_on_from(found[1])
            say(f"going on after step {found[1].step}")
        trainer.record(command)
        return trainer.run_all()


def _tell_models(run: PpoRun, engine: Engine, processes: int, say: Tell) -> None:
    """How many weights are trained, by how many processes, and what changes for who loads them."""
    weights = f"{engine.weights / 1e6:.1f}M weights trained"
    sharing = "ZeRO-3" if engine.is_zero3 else engine.accelerator.distributed_type.value.lower()
    company = f"{processes} process(es)" + f" ({sharing})" * (processes > 1)
    precision = "bfloat16" if engine.accelerator.mixed_precision == "bf16" else "float32"
    say(f"{company} in {precision}, {run.rollouts.sessions} sessions each a step, {weights}")
    longest = run.rollouts.longest_prompt
    if engine.begun_with_prompt_limit < longest:
        say(
            f"{run.policy.model_name_or_path} was trained on prompts of at most {engine.begun_with_prompt_limit} "
            f"tokens; the policy reads up to {longest} here (max_prompt_tokens), and wherever it is loaded"
        )


def _without_expansion(run: PpoRun) -> PpoRun:
    """The run; where no expand session is ever held, nothing foretells their value, so that it counts for nothing."""
    if run.rollouts.rounds and run.rollouts.expand_sessions:
        return run
    return replace(run, ppo=replace(run.ppo, gamma1=0.0), rollouts=replace(run.rollouts, valued_papers=0))


def selector_of(run: PpoRun, environment: Environment) -> Scorer | None:
    """Who says what matches beside the answers; None where nobody is asked."""
    if run.run.selector is None:
        return None
    models = replace(run.models, selector_path=run.run.selector)
    path = choose_model(models.selector_path, "selector").name
    return build_scorer(path, Settings(run.rollouts.agent(), models, run.tools), environment.library)


def _writer(run: PpoRun, engine: Engine) -> PolicyWriter:
    """Who writes the policy's replies: the model in training, or a server that follows it."""
    if run.run.vllm_url is None:
        return engine.generator()
    from trl_ext.session_ppo.vllm import connect

    return connect(run.run, engine.generator(), engine.accelerator.is_main_process)


def _say_nothing(_: str) -> None:
    pass
