"""Training on several processes: ZeRO-3 over gloo on CPUs (make test-distributed)."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.trl_ext.conftest import select_line, write_lines

ROOT = Path(__file__).parents[2]
STEPS, SAVE_STEPS, ROWS_A_STEP, PROCESSES = 12, 2, 4, 2
START_SECONDS = 400  # DeepSpeed compiles its CPU kernels the first time
# What a loss may differ by between one process and two: the order in which sums are taken.
TOLERANCE = 5e-4


def words(model, data, output, rows_a_process, **others):
    flags = {
        "task": "selector",
        "model_name_or_path": model,
        "dataset_name": data,
        "eval_dataset": data,
        "output_dir": output,
        "learning_rate": "1e-3",
        "max_steps": STEPS,
        "logging_steps": 1,
        "eval_steps": SAVE_STEPS,
        "save_steps": SAVE_STEPS,
        "save_total_limit": 9,
        "per_device_train_batch_size": rows_a_process,
        "device": "cpu",
        **others,
    }
    return [
        str(ROOT / "scripts" / "train_sft.py"),
        *(str(w) for name, value in flags.items() for w in (f"--{name}", value)),
    ]


def environment():
    return {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def launch(words, log, config, *flags):
    """Processes that train together, in a process group of their own."""
    config_file = str(ROOT / "configs" / "accelerate" / f"{config}.yaml")
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", config_file]
    command = [*accelerate, "--num_processes", str(PROCESSES), *map(str, flags), *words]
    with log.open("a") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment(), start_new_session=True)


def kill_all(process):
    """SIGKILL to a launcher and what it launched, which is in sessions of its own."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.wait()


def is_spread(output, steps):
    """Whether DeepSpeed's ZeRO wrote the checkpoint, a part by each process."""
    parts = list((Path(output) / f"checkpoint-{steps}").glob("global_step*/*zero_pp_rank_*optim_states.pt"))
    return len(parts) == PROCESSES


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(path, process, log):
    end = time.monotonic() + START_SECONDS
    while not path.exists():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.05)


def losses(output, steps=STEPS):
    state = json.loads((Path(output) / f"checkpoint-{steps}" / "trainer_state.json").read_text())
    return {entry["step"]: entry["loss"] for entry in state["log_history"] if "loss" in entry}


@pytest.mark.distributed
@pytest.mark.timeout(1200)
def test_zero3_on_two_processes_killed_and_resumed_gives_one_processs_losses(tiny_model, tmp_path):
    data = write_lines(tmp_path / "rows.jsonl", [select_line(i, reason=i % 2 == 0) for i in range(32)])
    alone, together, log = tmp_path / "alone", tmp_path / "together", tmp_path / "log"
    subprocess.run(
        [sys.executable, *words(tiny_model, data, alone, ROWS_A_STEP)],
        check=True,
        capture_output=True,
        env=environment(),
    )

    command = words(tiny_model, data, together, ROWS_A_STEP // PROCESSES)
    process = launch(command, log, "zero3", "--main_process_port", 0)
    wait_for(together / f"checkpoint-{2 * SAVE_STEPS}" / "trainer_state.json", process, log)
    kill_all(process)
    assert not (together / f"checkpoint-{STEPS}" / "trainer_state.json").exists()

    assert launch(command, log, "zero3", "--main_process_port", 0).wait() == 0, log.read_text()[-3000:]
    assert ", from " in log.read_text()
    run = json.loads((together / "sft_run.json").read_text())
    assert run["processes"] == PROCESSES
    expected = losses(alone)
    assert len(expected) == STEPS
    assert losses(together) == pytest.approx(expected, abs=TOLERANCE)
    assert (together / "model.safetensors").exists()
    assert is_spread(together, STEPS)


@pytest.mark.distributed
@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", ["zero2", "fsdp2", "zero3_multi_node"])
def test_the_other_ways_to_spread_a_model_give_the_same_losses(config, tiny_model, tmp_path):
    """Two machines are two launchers here, each with a process of its own."""
    data = write_lines(tmp_path / "rows.jsonl", map(select_line, range(16)))
    alone, together, logs = tmp_path / "alone", tmp_path / "together", [tmp_path / "log0", tmp_path / "log1"]
    steps = {"max_steps": SAVE_STEPS}
    command = [sys.executable, *words(tiny_model, data, alone, ROWS_A_STEP, **steps)]
    subprocess.run(command, check=True, capture_output=True, env=environment())
    command = words(tiny_model, data, together, ROWS_A_STEP // PROCESSES, **steps)
    if config == "zero3_multi_node":
        shared = ["--num_machines", 2, "--main_process_ip", "127.0.0.1", "--main_process_port", free_port()]
        launched = [launch(command, logs[rank], config, *shared, "--machine_rank", rank) for rank in (0, 1)]
    else:
        launched = [launch(command, logs[0], config, "--main_process_port", 0)]
    for process in launched:
        assert process.wait() == 0, logs[0].read_text()[-3000:]
    assert json.loads((together / "sft_run.json").read_text())["processes"] == PROCESSES
    assert losses(together, SAVE_STEPS) == pytest.approx(losses(alone, SAVE_STEPS), abs=TOLERANCE)


@pytest.mark.distributed
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("config", "lora_rank"), [("zero3", 0), ("zero3", 2), ("zero2", 0), ("fsdp2", 0)])
def test_training_spread_over_processes_learns_in_bfloat16_as_it_does_on_gpus(config, lora_rank, tiny_model, tmp_path):
    data = write_lines(tmp_path / "rows.jsonl", map(select_line, range(16)))
    out, log = tmp_path / "out", tmp_path / "log"
    ways = {"max_steps": 3 * SAVE_STEPS, "bf16": True, "lora_rank": lora_rank, "learning_rate": "1e-2"}
    process = launch(words(tiny_model, data, out, 2, **ways), log, config, "--main_process_port", 0)
    assert process.wait() == 0, log.read_text()[-3000:]
    evaluated = [json.loads(line)["loss"] for line in (out / "evaluations.jsonl").read_text().splitlines()]
    assert evaluated[-1] < evaluated[0]
    assert (out / ("adapter_model.safetensors" if lora_rank else "model.safetensors")).exists()
