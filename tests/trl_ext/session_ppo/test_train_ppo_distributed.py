"""Session PPO in processes of its own: ZeRO-3 over gloo on CPUs, and runs that are killed (make test-distributed)."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pasa.paper import title_key
from tests.models.tiny_models import build_tokenizer, save_checkpoint
from tests.trl_ext.session_ppo.toy_runs import learnt, metrics, words

ROOT = Path(__file__).parents[3]
START_SECONDS = 600  # DeepSpeed compiles its CPU kernels the first time
PROCESSES = 2
ROOM = 40  # tokens; search sessions of the toy world fit, expand sessions do not
# What a number may differ by between one process and two: the order in which sums are taken, over steps of learning.
TOLERANCE = 1e-3
# Sampled tokens must not differ by such: the policy stays nearly where it was.
SLOW = {"learning_rate": 1e-6, "value_learning_rate": 1e-6, "value_warmup_steps": 0, "save_steps": 1}


def environment():
    ours = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return os.environ | ours


def start(log, *command):
    with log.open("a") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment(), cwd=ROOT, start_new_session=True)


def alone(log, arguments):
    return start(log, sys.executable, "scripts/train_ppo.py", *arguments)


def together(log, arguments, config="zero3", script=("scripts/train_ppo.py",)):
    """`config`: of configs/accelerate, or "ddp" for data-parallel processes without a file."""
    if config == "ddp":
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES)]
    else:
        file = str(ROOT / "configs" / "accelerate" / f"{config}.yaml")
        launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", file]
        launcher += ["--num_processes", str(PROCESSES), "--main_process_port", "0"]
    return start(log, sys.executable, *launcher, *script, *arguments)


def finish(process, log):
    assert process.wait() == 0, log.read_text()[-4000:]


def kill_after(path, process, log):
    """SIGKILL to all processes of a run once `path` is there."""
    end = time.monotonic() + START_SECONDS
    while not path.exists():
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.02)
    kill_all(process)


def kill_all(process):
    """SIGKILL to a run: launchers put their processes into sessions of their own."""
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
    process.wait()


@pytest.mark.distributed
@pytest.mark.timeout(1800)
def test_a_run_killed_by_sigkill_goes_on_with_the_same_numbers(toy, tmp_path):
    log = tmp_path / "log"
    others = {"steps": 12, "save_steps": 2}
    finish(alone(log, words(toy, tmp_path / "whole", **others)), log)
    process = alone(log, words(toy, tmp_path / "killed", **others))
    kill_after(tmp_path / "killed" / "resume-1" / "state.json", process, log)
    assert not (tmp_path / "killed" / "policy").exists()
    finish(alone(log, words(toy, tmp_path / "killed", **others)), log)
    assert "going on after step" in log.read_text()
    assert learnt(tmp_path / "killed") == learnt(tmp_path / "whole")
    ours, theirs = (load_file(tmp_path / name / "policy" / "model.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def lora_over(model, folder):
    """A LoRA checkpoint that moves the weights of `model`."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.mark.distributed
@pytest.mark.timeout(2400)
def test_zero3_on_two_processes_killed_and_gone_on_with_gives_the_losses_of_one(toy, tmp_path):
    """One process with 8 queries a step has the sessions of two with 4 each: all papers found are expanded.

    The Selector is a model that each process holds whole, whatever ZeRO-3 does to the policy, which begins with a LoRA
    checkpoint.
    """
    log = tmp_path / "log"
    toy = dataclasses.replace(toy, model=lora_over(toy.model, tmp_path / "begun"))
    selector = save_checkpoint(tmp_path / "selector", "qwen2", build_tokenizer())
    whole_round = {"expand_sessions": 24, "rounds": 1, "steps": 4, "selector": selector}
    finish(alone(log, words(toy, tmp_path / "one", search_sessions=8, **whole_round, **SLOW)), log)
    command = words(toy, tmp_path / "two", search_sessions=4, **whole_round, **SLOW)
    kill_after(tmp_path / "two" / "resume-1" / "state.json", together(log, command), log)
    finish(together(log, command), log)
    assert "2 process(es) (ZeRO-3) in float32" in log.read_text()
    assert "going on after step" in log.read_text()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert list(one) == list(two) == [1, 2, 3, 4]
    for step, expected in one.items():
        for name in ("reward_per_session", "policy_loss", "value_loss", "kl_reference", "return_mean", "entropy"):
            assert two[step][name] == pytest.approx(expected[name], abs=TOLERANCE), (step, name)
        assert two[step]["rollout/calls_failed"] == 0
    assert two[2]["asked/scores_new"] > 0
    # the policy that was spread over two processes is a Crawler
    answer = tmp_path / "answer"
    question = ["--crawler_path", str(tmp_path / "two" / "policy"), "--selector_path", "rules", "--device", "cpu"]
    place = ["--library", str(toy.library), "--cache_dir", str(tmp_path / "cache"), "--output_folder", str(answer)]
    run = [sys.executable, "run_paper_agent.py", *question, *place, "--", "Which works are on amber"]
    done = subprocess.run(run, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    [tree] = [json.loads(path.read_text()) for path in answer.glob("*.json")]
    assert title_key(tree["title"]) == "whichworksareonamber"


@pytest.mark.distributed
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "form", [{}, {"lora_rank": 2, "value_body": "shared"}, {"compile": True}], ids=["full", "LoRA", "compiled"]
)
def test_data_parallel_processes_give_the_losses_of_one(toy, tmp_path, form):
    log = tmp_path / "log"
    whole_round = {"expand_sessions": 24, "rounds": 1, "steps": 3, **form, **SLOW}
    finish(alone(log, words(toy, tmp_path / "one", search_sessions=8, **whole_round)), log)
    finish(together(log, words(toy, tmp_path / "two", search_sessions=4, **whole_round), "ddp"), log)
    assert "2 process(es) (multi_cpu) in float32" in log.read_text()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert list(one) == list(two) == [1, 2, 3]
    for step, expected in one.items():
        for name in ("reward_per_session", "policy_loss", "value_loss", "kl_reference", "return_mean", "entropy"):
            assert two[step][name] == pytest.approx(expected[name], abs=TOLERANCE), (step, name)
    is_lora = "lora_rank" in form
    file = "adapter_model.safetensors" if is_lora else "model.safetensors"
    begun = {} if is_lora else load_file(Path(toy.model) / file)  # of an adapter B begins at 0
    alike, shared = (load_file(tmp_path / name / "policy" / file) for name in ("one", "two"))
    for name, weight in alike.items():
        if not is_lora or "lora_B" in name:
            moved = weight - begun.get(name, torch.zeros_like(weight))
            assert (shared[name] - weight).abs().mean() < 0.1 * moved.abs().mean(), name


@pytest.mark.distributed
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "form",
    [{}, {"lora_rank": 2, "value_body": "shared"}, {"lora_rank": 2, "value_body": "copy", "value_layer": 4}],
    ids=["full", "LoRA, shared value", "LoRA, value of its own"],
)
def test_zero3_learns_in_bfloat16_as_it_does_on_gpus(toy, tmp_path, form):
    """By the paper's config, saved and gone on with, too."""
    log = tmp_path / "log"
    run = {
        "bf16": True,
        "save_steps": 1,
        "value_warmup_steps": 1,
        "gradient_checkpointing": True,
        "eval_queries": None,
        **form,
    }
    config = ["--config", str(ROOT / "configs" / "ppo_crawler.yaml")]
    for steps in (2, 3):
        finish(together(log, [*config, *words(toy, tmp_path / "out", steps=steps, **run)]), log)
    assert "2 process(es) (ZeRO-3) in bfloat16" in log.read_text()
    lines = metrics(tmp_path / "out")
    assert list(lines) == [1, 2, 3]
    assert all(math.isfinite(value) for line in lines.values() for value in line.values())
    assert lines[3]["value_mean"] != 0
    file = "adapter_model.safetensors" if form else "model.safetensors"
    begun, kept = (load_file(tmp_path / "out" / name / file) for name in ("checkpoint-1", "policy"))
    assert any(not torch.equal(begun[name], weight) for name, weight in kept.items())


def with_little_memory(toy, out, log, config, **others):
    """A run whose second process has no room for expand sessions when they are evaluated."""
    script = [str(Path(__file__).with_name("train_with_little_memory.py")), str(ROOM)]
    whole_round = {"expand_sessions": 8, "rounds": 1, "steps": 3, "whiten": True, **SLOW}
    return together(log, words(toy, out, **whole_round, **others), config, script)


@pytest.mark.distributed
@pytest.mark.timeout(1200)
def test_a_process_without_room_for_its_sessions_goes_on_without_them(toy, tmp_path):
    """ZeRO-3 leaves out what data-parallel processes do, and learns the same from the others."""
    logs = {}
    for config in ("ddp", "zero3"):
        log = tmp_path / f"{config}.log"
        finish(with_little_memory(toy, tmp_path / config, log, config), log)
        assert "do not fit into memory, even alone: nothing is learnt from them" in log.read_text()
        logs[config] = metrics(tmp_path / config)
    assert list(logs["ddp"]) == list(logs["zero3"]) == [1, 2, 3]
    for step, expected in logs["ddp"].items():
        assert expected["memory_left_out"] > 0
        assert expected["memory_halvings"] > 0
        assert 0 < expected["sessions"] < expected["rollout/sessions"]
        for name in ("memory_left_out", "memory_halvings", "sessions", "policy_loss", "value_loss", "return_mean"):
            assert logs["zero3"][step][name] == pytest.approx(expected[name], abs=TOLERANCE), (step, name)


@pytest.mark.distributed
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("config", ["ddp", "zero3"])
def test_a_process_without_room_for_its_sessions_ends_all_where_that_is_set(toy, tmp_path, config):
    log = tmp_path / "log"
    process = with_little_memory(toy, tmp_path / "out", log, config, on_failure="stop")
    assert process.wait(timeout=START_SECONDS) != 0
    assert "error: step 1, process 1: out of memory" in log.read_text(), log.read_text()[-4000:]


@pytest.mark.distributed
@pytest.mark.timeout(1200)
def test_processes_without_a_folder_in_common_end_before_they_train(toy, tmp_path):
    log = tmp_path / "log"
    script = [str(Path(__file__).with_name("train_on_two_disks.py"))]
    process = together(log, words(toy, tmp_path / "out"), "ddp", script)
    assert process.wait(timeout=START_SECONDS) != 0
    assert "error: process 1 does not see" in log.read_text(), log.read_text()[-4000:]
    assert "storage that all machines share" in log.read_text()


@pytest.mark.distributed
@pytest.mark.timeout(1200)
def test_a_process_that_stops_does_not_leave_the_other_waiting(toy, tmp_path):
    log = tmp_path / "log"
    arguments = words(toy, tmp_path / "out", steps=100000, save_steps=100000, watchdog_seconds=20)
    process = together(log, arguments, "zero2")
    end = time.monotonic() + START_SECONDS
    while "step 3: " not in log.read_text():
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in below if any("train_ppo.py" in word for word in one.cmdline())]
    assert len(workers) == PROCESSES
    workers[-1].suspend()
    try:
        assert process.wait(timeout=300) != 0
        assert "gave no sign of life for 20 s" in log.read_text()
    finally:
        for one in workers:
            if one.is_running():
                one.kill()
        kill_all(process)
