import dataclasses
import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pasa.errors import ConfigError, ServiceError
from pasa.models.base import Sampling
from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_loading import load_checkpoint
from pasa.prompts import search_request
from pasa.result_folder import only_writer
from scripts.train_ppo import main
from tests.models.openai_server import Answer, OpenAIServer, completion_answer
from tests.trl_ext.session_ppo.toy_runs import evaluations, learnt, metrics, quiet, settings, weights, words
from trl_ext.session_ppo import training
from trl_ext.session_ppo.checkpoints import newest_slot
from trl_ext.session_ppo.environment import open_environment
from trl_ext.session_ppo.metrics_file import cut_back
from trl_ext.session_ppo.rollouts import Rollouts
from trl_ext.session_ppo.toy import ToySelector
from trl_ext.session_ppo.trainer import TrainingStopped
from trl_ext.session_ppo.training import train
from trl_ext.session_ppo.watchdog import Watchdog

LEARNING = {
    "steps": 24,
    "save_steps": 1000,
    "search_sessions": 16,
    "expand_sessions": 16,
    "rounds": 1,
    "generation_batch": 32,
    "forward_batch": 32,
    "value_warmup_steps": 8,
    "learning_rate": 2e-3,
    "value_learning_rate": 5e-3,
    "kl_coefficient": 0.01,
}


class Killed(BaseException):
    """What nothing catches, as little as SIGKILL."""


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    """The folder of a whole run of six steps."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    train(settings(toy, folder, eval_queries=str(toy.held_out), eval_steps=3), tell=quiet)
    return folder


@pytest.mark.timeout(600)  # 15 s of a core, which may be shared
def test_the_reward_rises(toy, tmp_path):
    """From a policy that searches for any subject to one that searches for the subject asked for."""
    run = settings(toy, tmp_path / "out", **LEARNING, eval_queries=str(toy.held_out))
    train(run, tell=quiet, selector=ToySelector())
    rewards = [line["reward_per_session"] for line in metrics(tmp_path / "out").values()]
    first, last = sum(rewards[:6]) / 6, sum(rewards[-6:]) / 6
    assert last > first + 1.0
    before, *_, after = evaluations(tmp_path / "out").values()
    assert after["eval/crawler_recall"] >= before["eval/crawler_recall"]


def test_a_run_leaves_policies_that_load_as_crawlers_and_a_log(finished):
    for name in ("checkpoint-2", "checkpoint-6", "policy"):
        generator = HuggingFaceGenerator.load(str(finished / name), device="cpu")
        assert generator.generate([search_request("Which works are on amber")], Sampling(max_new_tokens=8))[0].text
    assert not torch.equal(
        *(weights(finished / n)["model.embed_tokens.weight"] for n in ("checkpoint-2", "checkpoint-6"))
    )
    lines = metrics(finished)
    assert list(lines) == [1, 2, 3, 4, 5, 6]
    assert {"reward_per_session", "rollout/queue_size", "explained_variance", "asked/searches_new"} <= lines[6].keys()
    assert list(evaluations(finished)) == [0, 3, 6]
    assert evaluations(finished)[6]["eval/queries"] == 4
    assert json.loads((finished / "ppo_run.json").read_text())["settings"]["run"]["steps"] == 6


def test_a_killed_run_goes_on_with_the_same_numbers(toy, finished, tmp_path):
    """Killed in the fifth step, after the checkpoint at four; the line of the fifth is written twice."""
    run = settings(toy, tmp_path / "out", eval_queries=str(toy.held_out), eval_steps=3)

    def kill(line):
        if line.startswith("step 5"):
            raise Killed

    with pytest.raises(Killed):
        train(run, tell=kill)
    assert newest_slot(tmp_path / "out")[1]["state"]["step"] == 4
    told = []
    train(run, tell=told.append)
    assert "going on after step 4" in told
    assert learnt(tmp_path / "out") == learnt(finished)
    assert evaluations(tmp_path / "out") == evaluations(finished)
    ours, theirs = weights(tmp_path / "out" / "policy"), weights(finished / "policy")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_killed_while_it_asked_held_out_queries_asks_them_again_and_no_step(toy, finished, tmp_path, monkeypatch):
    run = settings(toy, tmp_path / "out", eval_queries=str(toy.held_out), eval_steps=3, save_steps=3)
    whole, asked = Rollouts.evaluate, []

    def killed_the_second_time(*args):
        asked.append(1)
        if len(asked) == 2:
            raise Killed
        return whole(*args)

    monkeypatch.setattr(Rollouts, "evaluate", killed_the_second_time)
    with pytest.raises(Killed):
        train(run, tell=quiet)
    told = []
    train(run, tell=told.append)
    assert "going on after step 3" in told
    assert learnt(tmp_path / "out") == learnt(finished)
    assert evaluations(tmp_path / "out") == evaluations(finished)
    assert len(asked) == 4  # at 0, broken off at 3, at 3, at 6


def test_a_crawl_that_goes_on_is_a_sign_of_life(toy, tmp_path, monkeypatch):
    """However long held-out queries take together."""
    pulses = []
    monkeypatch.setattr(Watchdog, "pulse", lambda _: pulses.append(1))
    train(settings(toy, tmp_path / "out", steps=1, eval_queries=str(toy.held_out)), tell=quiet)
    assert len(pulses) > 20


def test_a_state_cut_off_while_it_was_written_leaves_the_one_before(finished, toy, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    slot, content = newest_slot(tmp_path / "out")
    assert content["state"]["step"] == 6
    (slot / "state.json").write_text('{"state": {"st')
    assert newest_slot(tmp_path / "out")[1]["state"]["step"] == 4


def test_a_folder_that_a_run_writes_into_is_left_to_it(toy, finished, tmp_path):
    """Two at once would take each other's lines and states."""
    shutil.copytree(finished, tmp_path / "out")
    before = (tmp_path / "out" / "metrics.jsonl").read_bytes()
    with only_writer(tmp_path / "out"), pytest.raises(ConfigError, match=r"another run is writing .* --output_dir"):
        train(settings(toy, tmp_path / "out", steps=7), tell=quiet)
    assert (tmp_path / "out" / "metrics.jsonl").read_bytes() == before


def test_a_longer_run_goes_on_and_another_run_is_refused(finished, toy, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    held_out = {"eval_queries": str(toy.held_out), "eval_steps": 3}
    train(settings(toy, tmp_path / "out", steps=7, **held_out), tell=quiet)
    assert list(metrics(tmp_path / "out")) == [1, 2, 3, 4, 5, 6, 7]
    before = sorted(path for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(ConfigError, match=r"a run with another rewards\.alpha: name another output_dir"):
        train(settings(toy, tmp_path / "out", alpha=2.0, **held_out), tell=quiet)
    with pytest.raises(ConfigError, match="leave resume on"):
        train(settings(toy, tmp_path / "out", resume=False, **held_out), tell=quiet)
    assert sorted(path for path in (tmp_path / "out").rglob("*")) == before


def test_lora_on_a_shared_backbone_is_saved_as_an_adapter(toy, tmp_path):
    lora = {"lora_rank": 2, "value_body": "shared", "steps": 2, "value_warmup_steps": 0}
    train(settings(toy, tmp_path / "out", **lora), tell=quiet)
    assert (tmp_path / "out" / "policy" / "adapter_model.safetensors").is_file()
    assert "LoRA" in HuggingFaceGenerator.load(str(tmp_path / "out" / "policy"), device="cpu").description
    told = []
    train(settings(toy, tmp_path / "out", **lora | {"steps": 3}), tell=told.append)
    assert "going on after step 2" in told


def test_a_seed_decides_how_an_adapter_and_a_values_layer_begin(toy, tmp_path):
    def begun(folder, seed):
        drawn = {"lora_rank": 2, "value_body": "shared", "value_layer": 4}
        train(settings(toy, tmp_path / folder, steps=1, save_steps=1, seed=seed, **drawn), tell=quiet)
        torch.rand(3)  # whoever draws numbers between two runs
        return load_file(tmp_path / folder / "policy" / "adapter_model.safetensors"), learnt(tmp_path / folder)

    one, same, other = begun("one", 1), begun("same", 1), begun("other", 2)
    assert all(torch.equal(one[0][name], weight) for name, weight in same[0].items())
    assert one[1] == same[1]
    assert not any(torch.equal(one[0][name], weight) for name, weight in other[0].items() if "lora_A" in name)


def test_a_lora_that_began_with_a_lora_is_saved_together_with_it(toy, tmp_path):
    lora = {"lora_rank": 2, "value_body": "shared", "steps": 2, "value_warmup_steps": 0}
    first, second = tmp_path / "first", tmp_path / "second"
    train(settings(toy, first, **lora), tell=quiet)
    train(settings(toy, second, **lora, model_name_or_path=str(first / "policy")), tell=quiet)
    config = json.loads((second / "policy" / "adapter_config.json").read_text())
    assert config["r"] == 4  # both ranks
    assert (second / "policy" / config["base_model_name_or_path"]).resolve() == Path(toy.model).resolve()
    HuggingFaceGenerator.load(str(second / "policy"), device="cpu")


def test_a_servers_selector_says_what_matches(toy, tmp_path):
    """Every pair is asked for once, answers never."""

    def judge(path, body):
        return Answer(completion_answer("True", {"True": math.log(0.9), "False": math.log(0.1)}))

    with OpenAIServer(judge) as server:
        served = {"selector": "openai:judge", "api_base": server.base_url, "steps": 2}
        train(settings(toy, tmp_path / "out", **served), tell=quiet)
        prompts = [body["prompt"] for _, body, _ in server.requests]
    assert prompts
    assert len(prompts) == len(set(prompts))
    log = metrics(tmp_path / "out")
    assert log[2]["asked/scores_new"] == len(prompts)
    assert log[2]["asked/scores_gold"] > 0
    assert all(line["matched_per_action"] == line["new_per_action"] for line in log.values())  # it selects everything


def test_tensorboard_hears_of_every_step(toy, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install -r requirements-training.txt")
    train(settings(toy, tmp_path / "out", steps=1, report_to="tensorboard"), tell=quiet)
    assert list((tmp_path / "out").rglob("events.out.tfevents*"))


# -- bad days --------------------------------------------------------------------------------------------------------


class Failing:
    """An engine that is down for some of its calls."""

    name = "failing"

    def __init__(self, engine, is_down):
        self.engine = engine
        self.is_down = is_down

    def search(self, *args):
        if self.is_down():
            raise ServiceError("search is down", 503)
        return self.engine.search(*args)


def with_engine(monkeypatch, is_down):
    @contextmanager
    def opened(tools, agent, cut_off, budget):
        with open_environment(tools, agent, cut_off, budget) as environment:
            yield dataclasses.replace(environment, engine=Failing(environment.engine, is_down))

    monkeypatch.setattr(training, "open_environment", opened)


@pytest.mark.parametrize(("given", "longest"), [(40, 40), (992, 992), (1024, 992)])
def test_a_policy_reads_prompts_as_long_where_it_is_loaded_as_where_it_learnt(toy, tmp_path, given, longest):
    begun, told = tmp_path / "begun", []
    shutil.copytree(toy.model, begun)
    names = json.loads((begun / "tokenizer_config.json").read_text())
    (begun / "tokenizer_config.json").write_text(json.dumps({**names, "model_max_length": 20}))
    run = settings(toy, tmp_path / "out", model_name_or_path=str(begun), steps=1, max_prompt_tokens=given)
    train(run, tell=told.append)
    assert load_checkpoint(str(begun), device="cpu").prompt_limit == 20
    assert load_checkpoint(str(tmp_path / "out" / "policy"), device="cpu").prompt_limit == longest
    assert any("at most 20 tokens" in line and f"up to {longest} here" in line for line in told)


def test_a_run_tells_how_many_compute_and_in_what_precision(toy, tmp_path):
    told = []
    train(settings(toy, tmp_path / "out", steps=1), tell=told.append)
    assert any(line.startswith("1 process(es) in float32, ") for line in told)


def test_learning_gives_signs_of_life_all_along(toy, tmp_path, monkeypatch):
    signs = []
    monkeypatch.setattr(Watchdog, "pulse", lambda self: signs.append(self._doing))
    train(settings(toy, tmp_path / "out", steps=1, forward_batch=1, epochs=2), tell=quiet)
    sessions = settings(toy, tmp_path / "out").rollouts.sessions
    assert signs.count("step 1, learning") >= 2 * sessions


def test_storage_that_fails_stops_the_run_with_a_line(toy, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "resume-0").write_text("not a folder")
    with pytest.raises(TrainingStopped, match=r"resume-0'.*: mend it and run the command again"):
        train(settings(toy, tmp_path / "out", steps=1), tell=quiet)


def test_while_the_search_fails_steps_go_on_and_learning_resumes_afterwards(toy, tmp_path, monkeypatch):
    told = []
    down = lambda: sum(line.startswith("step ") and "reward" in line for line in told) in (2, 3)  # noqa: E731
    with_engine(monkeypatch, down)
    train(settings(toy, tmp_path / "out", save_steps=1000, generation_batch=1), tell=told.append)
    log = metrics(tmp_path / "out")
    failed = {n: line["rollout/crawls_failed"] for n, line in log.items()}
    assert failed[3] > 0
    assert failed[4] > 0
    assert {failed[n] for n in (1, 2, 5, 6)} == {0}
    assert any("step 3, process 0: query train_" in line and "search is down" in line for line in told)


def test_a_search_that_stays_down_stops_the_run_with_a_line(toy, tmp_path, monkeypatch):
    with_engine(monkeypatch, lambda: True)
    with pytest.raises(TrainingStopped, match="2 steps in a row taught nothing"):
        train(settings(toy, tmp_path / "a", steps=100, max_empty_steps=2, search_queries=5), tell=quiet)
    with pytest.raises(TrainingStopped, match="on_failure is stop"):
        train(settings(toy, tmp_path / "b", on_failure="stop"), tell=quiet)


class WithoutPages:
    """A source whose pages cannot be had."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def sections(self, paper):
        raise ServiceError("pages are down", 503)


def test_pages_that_cannot_be_had_are_told_and_stop_a_run_that_is_to_stop(toy, tmp_path, monkeypatch):
    @contextmanager
    def opened(tools, agent, cut_off, budget):
        with open_environment(tools, agent, cut_off, budget) as environment:
            yield dataclasses.replace(environment, source=WithoutPages(environment.source))

    monkeypatch.setattr(training, "open_environment", opened)
    told = []
    train(settings(toy, tmp_path / "out", steps=1), tell=told.append)
    assert any(line.startswith("step 1, process 0: failed: page ") for line in told)
    assert metrics(tmp_path / "out")[1]["rollout/calls_failed"] > 0
    with pytest.raises(TrainingStopped, match="calls failed"):
        train(settings(toy, tmp_path / "stop", steps=1, on_failure="stop"), tell=quiet)


def test_held_out_queries_that_could_not_be_crawled_are_told_and_no_recall_of_0_is_logged(toy, tmp_path, monkeypatch):
    with_engine(monkeypatch, lambda: True)
    told = []
    with pytest.raises(TrainingStopped):
        train(settings(toy, tmp_path / "out", eval_queries=str(toy.held_out), max_empty_steps=1), tell=told.append)
    assert any(line.startswith("step 0, held-out queries, process 0: failed: crawl broken off ") for line in told)
    assert evaluations(tmp_path / "out") == {}


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_while_the_value_alone_learns_the_policys_weights_stay_where_they_are(toy, tmp_path, weight_decay):
    run = settings(toy, tmp_path / "out", steps=2, save_steps=1, value_warmup_steps=1, weight_decay=weight_decay)
    train(run, tell=quiet)
    start, frozen, learnt_once = (
        weights(folder) for folder in (toy.model, *(tmp_path / "out" / f"checkpoint-{n}" for n in (1, 2)))
    )
    assert all(torch.equal(frozen[name], start[name]) for name in frozen)
    assert not all(torch.equal(learnt_once[name], start[name]) for name in start)


def test_where_nothing_is_ever_expanded_what_is_found_earns_no_value_of_its_expansion(toy, tmp_path):
    train(settings(toy, tmp_path / "out", steps=1, rounds=0), tell=quiet)
    line = metrics(tmp_path / "out")[1]
    assert line["rollout/starts"] == line["later_value_mean"] == 0
    assert not any(name.startswith("asked/pages") for name in line)


def test_queries_that_do_not_name_their_source_are_told_of(toy, tmp_path):
    rows = [json.loads(line) for line in toy.queries.read_text().splitlines()]
    nameless = tmp_path / "nameless.jsonl"
    nameless.write_text("".join(json.dumps({**row, "source_meta": {}}) + "\n" for row in rows))
    told = []
    train(settings(toy, tmp_path / "out", steps=1, queries=str(nameless)), tell=told.append)
    assert any(f"warning: {len(rows)} of {len(rows)} queries do not name the paper" in line for line in told)


def test_queries_without_a_date_are_told_of_where_one_is_needed(toy, tmp_path):
    rows = [json.loads(line) for line in toy.queries.read_text().splitlines()]
    undated = tmp_path / "undated.jsonl"
    metas = [{**row["source_meta"], "published_time": "" if at < 3 else "20240110"} for at, row in enumerate(rows)]
    undated.write_text(
        "".join(json.dumps({**r, "source_meta": meta}) + "\n" for r, meta in zip(rows, metas, strict=True))
    )
    for cut_off, count in (("true", 1), ("false", 0)):
        told = []
        run = settings(toy, tmp_path / cut_off, steps=1, queries=str(undated), date_cut_off=cut_off)
        train(run, tell=told.append)
        assert sum(f"warning: 3 of {len(rows)} queries have no date" in line for line in told) == count


def test_lines_of_steps_that_were_not_kept_are_written_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    cut_back(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_mistakes_end_with_a_line(toy, tmp_path, capfd):
    for change, said in (
        ({"gama1": "0"}, "--help"),
        ({"alpha": "-1"}, "rewards.alpha is -1.0; it must be at least 0"),
        ({"model_name_or_path": "./none"}, "no checkpoint at"),
        ({"queries": "none.jsonl"}, "cannot read"),
        ({"eval_queries": str(toy.queries)}, "16 questions of"),
        ({"next_papers": "best"}, "it may be paper, upstream"),
        ({"report_to": "paper"}, "it may be tensorboard, wandb"),
    ):
        given = words(toy, tmp_path / "out")
        assert main([*given, *(w for name, value in change.items() for w in (f"--{name}", value))]) == 2
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith("error: ")
        assert said in line


def test_fsdp_is_refused_where_accelerate_would_run_something_else(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "True")
    with pytest.raises(ConfigError, match="FSDP"):
        train(settings(toy, tmp_path))
    assert not list(tmp_path.iterdir())
