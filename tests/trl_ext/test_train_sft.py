import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pasa.errors import CheckpointError, ConfigError
from pasa.models.base import Sampling
from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_likelihood import LikelihoodScorer
from pasa.models.hf_loading import load_checkpoint
from pasa.models.hf_scorer import HuggingFaceScorer
from pasa.models.huggingface import load_scorer
from pasa.prompts import search_request, select_request
from pasa.result_folder import only_writer
from scripts.train_sft import main
from tests.trl_ext.conftest import select_line, write_lines
from trl_ext.sft import check_processes, last_checkpoint, train
from trl_ext.sft_data import SftRow
from trl_ext.sft_evaluators import sessions_to_answer
from trl_ext.sft_settings import SftSettings

STEPS = 6  # of 4 rows: an epoch and a half


def settings_for(task, model, data, output, **others):
    values = {
        "eval_dataset": str(data),
        "learning_rate": 3e-3,
        "max_steps": STEPS,
        "logging_steps": 1,
        "eval_steps": 3,
        "save_steps": 3,
        "eval_max_new_tokens": 8,
        "eval_sessions": 2,
        "gradient_checkpointing": False,
        "device": "cpu",
    }
    return SftSettings(
        task=task, model_name_or_path=model, dataset_name=str(data), output_dir=str(output), **values | others
    )


def losses(folder):
    """Step -> loss as the last checkpoint tells it."""
    state = json.loads((Path(folder) / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return {entry["step"]: entry["loss"] for entry in state["log_history"] if "loss" in entry}


@pytest.fixture(scope="module")
def selector(tiny_model, select_file, tmp_path_factory):
    """The settings of a finished run."""
    settings = settings_for("selector", tiny_model, select_file, tmp_path_factory.mktemp("selector") / "out")
    train(settings, "the command")
    return settings


def test_what_is_learnt_lowers_the_loss_and_loads_as_a_selector(selector):
    out = Path(selector.output_dir)
    evaluated = [json.loads(line)["loss"] for line in (out / "evaluations.jsonl").read_text().splitlines()]
    assert evaluated[1] < evaluated[0] - 0.5
    score = HuggingFaceScorer.load(str(out), device="cpu").score([select_request("which agents", "t", "a")])[0]
    before = HuggingFaceScorer.load(selector.model_name_or_path, device="cpu")
    assert score > before.score([select_request("which agents", "t", "a")])[0]


def test_evaluations_hold_the_curve_and_the_card_the_data(selector):
    out = Path(selector.output_dir)
    lines = [json.loads(line) for line in (out / "evaluations.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert all(len(line["curve"]) == 19 and line["pairs"] == 16 and line["answers"] == 6 for line in lines)
    run = json.loads((out / "sft_run.json").read_text())
    assert run["data"]["train"]["rows"] == 16
    card = (out / "README.md").read_text()
    assert "the command" in card
    assert run["data"]["train"]["sha256"] in card
    assert "| auc |" in card


def test_the_best_checkpoint_is_what_is_kept(selector, tmp_path):
    out = Path(selector.output_dir)
    state = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    kept, best = (
        load_file(out / "model.safetensors"),
        load_file(Path(state["best_model_checkpoint"]) / "model.safetensors"),
    )
    assert all(torch.equal(kept[name], best[name]) for name in best)


def test_a_run_that_was_stopped_goes_on_with_the_same_losses(selector, tmp_path):
    """The folder is left as a kill after the first checkpoint leaves it, in the midst of the first epoch."""
    shutil.copytree(selector.output_dir, tmp_path / "out", ignore=shutil.ignore_patterns(f"checkpoint-{STEPS}"))
    settings = SftSettings(**{**vars(selector), "output_dir": str(tmp_path / "out")})
    train(settings)
    assert losses(settings.output_dir) == losses(selector.output_dir)
    first, second = (load_file(Path(s.output_dir) / "model.safetensors") for s in (selector, settings))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_checkpoints_of_another_run_are_not_gone_on_from(selector):
    with pytest.raises(ConfigError, match="with another learning_rate: name another output_dir"):
        train(SftSettings(**{**vars(selector), "learning_rate": 1e-4}))
    with pytest.raises(ConfigError, match="holds checkpoints"):
        train(SftSettings(**{**vars(selector), "resume": False}))


def test_a_folder_that_a_run_writes_into_is_left_to_it(tiny_model, select_file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with only_writer(out), pytest.raises(ConfigError, match=r"another run is writing .* --output_dir"):
        train(settings_for("selector", tiny_model, select_file, out))
    assert not list(out.iterdir())


def test_a_folder_that_cannot_be_written_into_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write into .*: Not a directory"):
        train(settings_for("selector", "no-model", tmp_path / "no-data", tmp_path / "file" / "out"))


def test_a_lora_crawler_is_evaluated_saved_and_loaded(tiny_model, crawl_file, tmp_path):
    settings = settings_for("crawler", tiny_model, crawl_file, tmp_path / "out", lora_rank=4, bf16="true")
    scores = train(settings)
    assert {"valid", "section_f1", "loss"} <= scores.keys()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    generator = HuggingFaceGenerator.load(settings.output_dir, device="cpu")
    assert "LoRA" in generator.description
    request = search_request("which agents")
    assert generator.generate([request], Sampling(max_new_tokens=4))[0].prompt_ids[:2] == tuple(
        generator.encode([request], 4)[0][:2]
    )


def test_packed_rows_give_the_loss_of_rows_alone(tiny_model, tmp_path):
    """Rows joined to one must not see each other: same rows, same first loss."""
    data = write_lines(tmp_path / "rows.jsonl", map(select_line, range(3)))
    first = {}
    for packing in ("true", "false"):
        out = tmp_path / packing
        others = {"packing": packing, "max_steps": 1, "save_steps": 1, "eval_dataset": None, "max_seq_length": 1024}
        settings = settings_for("selector", tiny_model, data, out, **others)
        train(settings)
        state = json.loads((out / "checkpoint-1" / "trainer_state.json").read_text())
        first[packing] = state["log_history"][0]["loss"]
    assert first["true"] == pytest.approx(first["false"], abs=1e-4)


def test_mistakes_end_with_a_line(tmp_path, capfd, tiny_model, select_file):
    data = ["--dataset_name", str(select_file), "--output_dir", str(tmp_path / "out")]
    missing = ["--dataset_name", "none.jsonl", "--output_dir", str(tmp_path)]
    empty = tmp_path / "no-checkpoint"
    empty.mkdir()
    (empty / "config.json").write_text("{}")
    for words, said in (
        (["--lora_rnak", "8"], "--help"),
        (["--model_name_or_path", "./none", *data], "no checkpoint at"),
        (["--model_name_or_path", str(empty), *data], "cannot load the tokenizer"),
        (["--model_name_or_path", tiny_model, *missing], "cannot read"),
        (["--model_name_or_path", tiny_model, "--attn_implementation", "flash_attention_2", *data], "use auto or sdpa"),
    ):
        assert main([*words, "--device", "cpu"]) == 2
        said_last = capfd.readouterr().err.splitlines()[-1]
        assert said_last.startswith("error: ")
        assert said in said_last


def test_processes_that_would_each_train_alone_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert check_processes(2) == 2
    with pytest.raises(ConfigError, match="each trains alone"):
        check_processes(1)


def test_a_checkpoint_that_a_killed_process_left_half_is_passed_over(tmp_path):
    for step, whole in ((2, True), (10, True), (12, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert last_checkpoint(tmp_path / "none") is None


def test_both_kinds_of_session_are_answered():
    rows = [SftRow("search", f"{i}", "r") for i in range(5)] + [SftRow("expand", f"{i}", "r") for i in range(3)]
    assert [row.kind for row in sessions_to_answer(rows, 4)] == ["search"] * 2 + ["expand"] * 2
    assert [row.kind for row in sessions_to_answer(rows, 8)] == ["search"] * 5 + ["expand"] * 3
    assert [row.kind for row in sessions_to_answer(rows[:5], 4)] == ["search"] * 4


@pytest.fixture
def lora_folder(tiny_model, select_file, tmp_path):
    """What SFT with LoRA leaves."""
    short = settings_for("selector", tiny_model, select_file, tmp_path / "lora", lora_rank=2, max_seq_length=320)
    train(short, "the command")
    return str(tmp_path / "lora")


def test_all_weights_learn_on_from_a_lora(lora_folder, select_file, tmp_path):
    settings = settings_for("selector", lora_folder, select_file, tmp_path / "out")
    begun = load_checkpoint(lora_folder, device="cpu").model.state_dict()
    train(settings, "the command")
    whole = load_checkpoint(str(tmp_path / "out"), device="cpu").model.state_dict()
    moved = {name: float((whole[name] - weight).abs().max()) for name, weight in begun.items()}
    assert 0 < max(moved.values()) < 0.1
    assert any(moved[name] for name in moved if "mlp" in name)  # no LoRA was there


def test_who_learns_on_from_a_lora_reads_prompts_as_long_as_it_learnt_from(lora_folder, select_file, tmp_path):
    train(settings_for("selector", lora_folder, select_file, tmp_path / "out"), "the command")
    limits = [load_checkpoint(path, device="cpu").prompt_limit for path in (lora_folder, str(tmp_path / "out"))]
    assert limits == [320, 992]


def test_a_lora_beside_a_whole_model_is_refused_in_a_line(lora_folder, tiny_model, select_file, tmp_path):
    for file in Path(tiny_model).glob("*model*"):
        shutil.copy(file, lora_folder)
    shutil.copy(Path(tiny_model) / "config.json", lora_folder)
    config = json.loads((Path(lora_folder) / "adapter_config.json").read_text())
    named = json.dumps({**config, "base_model_name_or_path": tiny_model})
    (Path(lora_folder) / "adapter_config.json").write_text(named)
    with pytest.raises(CheckpointError, match="beside a whole model"):
        train(settings_for("selector", lora_folder, select_file, tmp_path / "out"), "the command")


def test_a_lora_over_a_lora_is_refused_in_a_line(lora_folder, select_file, tmp_path):
    settings = settings_for("selector", lora_folder, select_file, tmp_path / "out", lora_rank=2)
    with pytest.raises(CheckpointError, match="train all weights"):
        train(settings, "the command")


def test_a_selector_by_likelihood_is_trained_calibrated_and_loaded(tiny_model, select_file, tmp_path):
    settings = settings_for(
        "selector", tiny_model, select_file, tmp_path / "out", objective="likelihood", lora_rank=2, best_metric="auc"
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evaluations.jsonl").write_text("of a finished run that trained into this folder before\n")
    scores = train(settings, "the command")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (tmp_path / "out" / config["base_model_name_or_path"]).resolve() == Path(tiny_model).resolve()
    assert not Path(config["base_model_name_or_path"]).is_absolute()
    selector = json.loads((tmp_path / "out" / "selector.json").read_text())
    assert (selector["slope"], selector["offset"]) == (scores["slope"], scores["offset"])
    scorer = load_scorer(str(tmp_path / "out"), device="cpu")
    assert isinstance(scorer, LikelihoodScorer)
    evaluated = [json.loads(line)["loss"] for line in (tmp_path / "out" / "evaluations.jsonl").read_text().splitlines()]
    assert evaluated[1] < evaluated[0]
