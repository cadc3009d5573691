"""Three PPO steps on made-up sessions, by as many processes as launched this; prints the metrics as JSON lines.

step_on_processes.py MODEL FORM WAY OUT      FORM, WAY: JSON objects of PolicySettings and PpoSettings
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState

from tests.trl_ext.session_ppo.sessions import decode, random_step
from trl_ext.session_ppo.batch import batch_of
from trl_ext.session_ppo.learner import AcceleratorLearner
from trl_ext.session_ppo.metrics import session_counts, session_metrics, summed
from trl_ext.session_ppo.policy import load_session_policy
from trl_ext.session_ppo.processes import AcceleratorProcesses
from trl_ext.session_ppo.records import StepSessions
from trl_ext.session_ppo.settings import policy_settings, ppo_settings
from trl_ext.session_ppo.sharding import ShardedPolicy
from trl_ext.session_ppo.step import first_state, ppo_step

STEPS, SESSIONS, RATE, MAX_NORM = 4, 5, 1e-3, 1.0


def share_of(step: StepSessions, process: int, processes: int) -> StepSessions:
    """Every `processes`-th session, in rows that are as many everywhere; all starts."""
    rows = -(-len(step.sessions) // processes)
    return StepSessions(step.sessions[process::processes], step.starts, rows)


def main(model: str, form: str, way: str, out: str) -> None:
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "1"  # the file's "auto" is for transformers' Trainer
    if not torch.cuda.is_available():
        PartialState(cpu=True)  # first, or accelerate sets DeepSpeed aside on CPUs
    accelerator = Accelerator()
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:
        plugin.deepspeed_config["gradient_clipping"] = MAX_NORM
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
    torch.manual_seed(0)
    policy = load_session_policy(policy_settings({"model_name_or_path": model, "chunk_tokens": 4, **json.loads(form)}))
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    engine, optimizer = accelerator.prepare(policy, optimizer)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":  # what is meant to be tested is what runs
        assert plugin is not None
        assert plugin.zero_stage < 3 or all(hasattr(p, "ds_id") for p in engine.module.parameters())
    model = ShardedPolicy(engine, policy, plugin is not None and plugin.zero_stage == 3)
    learner = AcceleratorLearner(accelerator, engine, optimizer, MAX_NORM)
    processes = AcceleratorProcesses(accelerator)
    settings = ppo_settings({"value_warmup_steps": 1, "stop_kl": 10.0, **json.loads(way)})
    state = first_state(settings)
    for number in range(STEPS):
        everything = random_step(number, sessions=SESSIONS, vocabulary=300)
        step = share_of(everything, accelerator.process_index, accelerator.num_processes)
        prompts = [start.prompt_ids for start in step.starts]
        metrics, state = ppo_step(
            batch_of(step, decode, 0), prompts, model, learner, settings, state, processes, accelerator.device
        )
        metrics |= session_metrics(summed(session_counts(step), processes))
        if accelerator.is_main_process:
            with Path(out).open("a") as file:
                file.write(json.dumps(metrics) + "\n")
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
