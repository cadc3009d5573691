import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from pasa.errors import ConfigError
from trl_ext.session_ppo.run_settings import (
    FREE_TO_CHANGE,
    SHOWN,
    fingerprint,
    flag_names,
    groups,
    load_ppo_run,
    parse_flag,
)

CONFIGS = Path(__file__).parents[3] / "configs"
NEEDED = {"queries": "q.jsonl", "output_dir": "out", "model_name_or_path": "model"}


def test_a_flag_belongs_to_one_group():
    names = Counter(
        field.name
        for group, record in groups().items()
        for field in dataclasses.fields(record)
        if group not in SHOWN or field.name in SHOWN[group]
    )
    assert [name for name, times in names.items() if times > 1] == []
    assert set(names) == set(flag_names())
    assert set(names) >= FREE_TO_CHANGE


def test_the_config_of_the_paper_holds_its_numbers():
    run = load_ppo_run(CONFIGS / "ppo_crawler.yaml")
    assert (run.ppo.gamma0, run.ppo.gamma1, run.ppo.lam, run.ppo.kl_coefficient) == (1.0, 0.1, 1.0, 0.1)
    assert (run.ppo.clip_range, run.ppo.value_weight, run.ppo.epochs, run.ppo.value_warmup_steps) == (0.2, 10.0, 2, 50)
    assert (run.rewards.alpha, run.rewards.search_cost, run.rewards.expand_cost, run.rewards.stop_cost) == (
        1.5,
        0.1,
        0.1,
        0.0,
    )
    assert (run.rollouts.search_sessions, run.rollouts.expand_sessions, run.rollouts.sessions) == (4, 6, 16)
    assert (run.run.steps, run.run.learning_rate) == (250, 1e-6)


def test_defaults_are_the_papers_too():
    ours, paper = load_ppo_run(None, NEEDED), load_ppo_run(CONFIGS / "ppo_crawler.yaml")
    assert ours.rewards == paper.rewards
    assert dataclasses.replace(ours.ppo, evaluation_batch=0) == dataclasses.replace(paper.ppo, evaluation_batch=0)
    assert ours.rollouts.sessions == paper.rollouts.sessions


def test_the_small_config_needs_only_data():
    run = load_ppo_run(CONFIGS / "ppo_small_cpu.yaml", {"queries": "q.jsonl"})
    assert run.policy.lora_rank
    assert run.models.device == "cpu"


def test_flags_are_read_as_yaml_reads_them():
    for name, text, value in (
        ("learning_rate", "1e-5", 1e-5),
        ("eval_queries", "null", None),
        ("bf16", "true", "true"),
        ("selector_reward", "false", False),
        ("output_dir", "2024", "2024"),
    ):
        run = load_ppo_run(None, {**NEEDED, name: parse_flag(name, text)})
        assert getattr(getattr(run, flag_names()[name][0]), name) == value


def test_what_a_run_computes_is_in_its_fingerprint_and_what_it_tells_is_not():
    first = fingerprint(load_ppo_run(None, NEEDED), 2)
    assert fingerprint(load_ppo_run(None, {**NEEDED, "save_steps": 7, "steps": 500}), 2) == first
    for change in ({"alpha": 2.0}, {"learning_rate": 1e-4}, {"max_new_tokens": 5}, {"library": "L"}, {"seed": 1}):
        assert fingerprint(load_ppo_run(None, NEEDED | change), 2) != first
    assert fingerprint(load_ppo_run(None, NEEDED), 4) != first
    linear = NEEDED | {"lr_schedule": "linear"}
    assert fingerprint(load_ppo_run(None, linear), 2) != fingerprint(load_ppo_run(None, linear | {"steps": 500}), 2)


def test_files_that_are_no_settings_are_told(tmp_path):
    for text, said in (
        ("ppo: 5", "must hold groups"),
        ("pppo: {}", "unknown group 'pppo'"),
        ("ppo: {gamma: 1}", "did you mean 'gamma1'"),
        ("run: {steps: 0}", "must be at least 1"),
        ("rollouts: {valued_papers: -1}", "must be at least 0"),
        ("run: {value_learning_rate: -1.0e-3}", "must be at least 0"),
        ("[", "is not YAML"),
    ):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match=said):
            load_ppo_run(tmp_path / "c.yaml", NEEDED)
