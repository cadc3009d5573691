"""The flags of run_paper_agent.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn, get_args

from pasa.errors import ConfigError
from pasa.evaluation.datasets import DatasetFormat
from pasa.export.formats import FORMATS
from pasa.flags import RaisingParser

COMMAND = "pasa search"  # as pasa/cli.py starts it
SATURATED_AFTER = 100  # new papers: fewer than 3 % of those to come would be selected (budget.py)

_DESCRIPTION = """\
Finds research papers for a question: searches, reads what the found papers cite, scores everything, and ranks it.

  python run_paper_agent.py "which papers study UCB for non-stationary RL?"
  python run_paper_agent.py --input_file questions.jsonl --library data/library --output_folder results/rules
  SERPER_API_KEY=... python run_paper_agent.py "..." --crawler_path checkpoints/pasa-7b-crawler \\
      --selector_path checkpoints/pasa-7b-selector
  python run_paper_agent.py "what came after this?" --seed 2501.10120 --cited_by 20 --library data/library
  python run_paper_agent.py "..." --crawler_path openai:my-model --selector_path openai:my-model \\
      --api_base http://127.0.0.1:8000/v1
  python run_paper_agent.py --input_file questions.jsonl --library data/library --ray 10.0.0.5:6379

With no key, no library and no network it answers from the small demo library that ships, and says so.
"""
_EPILOG = """\
models (--crawler_path, --selector_path)
  auto           checkpoints/pasa-7b-crawler and -selector where they are, else rules
  rules          no language model: runs anywhere
  FOLDER or NAME a Hugging Face causal language model, or a LoRA adapter folder
  openai:MODEL   a model on the OpenAI-compatible server at --api_base (key: OPENAI_API_KEY)

engines (--engine)
  auto           Google if SERPER_API_KEY is set, else data/library, else arXiv where it can be reached, else demo
  serper         Google through serper.dev, papers and citations from arXiv (or from --library first)
  scholar        Google Scholar through serper.dev (the same key)
  arxiv          arXiv's own search
  openalex       OpenAlex; with what papers cite and who cites them (OPENALEX_API_KEY, free: openalex.org/settings/api)
  semantic_scholar   the same of Semantic Scholar, a request a second (SEMANTIC_SCHOLAR_API_KEY or S2_API_KEY, free:
                 semanticscholar.org/product/api; without one it often refuses)
  library        a library built by scripts/build_library.py: --library PATH (default data/library)
  demo           the demo library that ships
  serper,arxiv   several at once, as many as you like; their results are fused by reciprocal rank

environment (or a .env file)   SERPER_API_KEY, OPENALEX_API_KEY, SEMANTIC_SCHOLAR_API_KEY,
                               OPENAI_API_KEY, OPENAI_BASE_URL
many queries (--input_file)
  Results are DIR/0.json, 1.json, ...; the same command again runs only what is missing. Where a server answers, eight
  queries run at once (--queries_at_once; --api_concurrency requests of Crawler and Selector each). --ray spreads them
  over a Ray cluster (pip install -r requirements-ray.txt): every machine needs libraries and checkpoints under the same
  paths and must reach --api_base; results are written here, whatever machine goes down meanwhile.

exit codes   0 done (a budget that ended the run is said, not an error) · 2 something to mend in the call ·
             3 a search service failed · 4 a model failed · 130 interrupted
"""


class _Parser(RaisingParser):
    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: ") and not message.split(": ")[1].startswith("-"):
            raise ConfigError(f"{message}; put the question in quotes")
        super().error(message)


def build_parser() -> argparse.ArgumentParser:
    """The command line; upstream's flags keep their names and meaning. Dashes may stand for underscores."""
    parser = _Parser(
        prog=COMMAND if sys.argv[0] == COMMAND else "run_paper_agent.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("query", nargs="?", help="the question, in quotes")
    add(
        "--input_file",
        type=Path,
        metavar="FILE",
        help="JSON lines with `question` (upstream's form) instead of a query",
    )
    add(
        "--dataset_format",
        choices=get_args(DatasetFormat),
        default="auto",
        help="of the input file (default: auto, seen by its fields)",
    )
    add("--output_folder", metavar="DIR", default="results", help='result trees go here ("" = none; default: results)')
    add("--config", type=Path, metavar="FILE", help="settings as YAML, such as configs/agent_upstream.yaml")
    add(
        "--seed",
        dest="seeds",
        action="append",
        metavar="PAPER",
        help="start from this paper too: arXiv id, its URL, or exact title; repeatable (JSON lines: `seed`)",
    )
    models = parser.add_argument_group("models").add_argument
    models("--crawler_path", metavar="MODEL", help="writes queries, chooses sections (default: auto, see below)")
    models("--selector_path", metavar="MODEL", help="scores papers (default: auto, see below)")
    models("--second_selector_path", metavar="MODEL", help="reads the best 30 papers again (default: none)")
    models("--encoder", metavar="MODEL", help="reads papers for `rules`: all-MiniLM-L6-v2 (default) or pasa-minilm")
    models("--prompts", metavar="SET", help="pasa = the released checkpoints', chat = for general chat models (pasa)")
    models("--device", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    models("--dtype", help="auto, bfloat16, float16, float32 (default: auto)")
    models("--attention", help="auto, sdpa, flash_attention_2, eager (default: auto)")
    models("--batch_size", type=int, metavar="N", help="prompts the crawler answers at once (default: 8)")
    models("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    models("--selector_api_base", metavar="URL", help="of the selector's, where it is another (--api_base)")
    models(
        "--api_concurrency", type=int, metavar="N", help="requests to it at once (8, or 4 a query that runs at once)"
    )
    sources = parser.add_argument_group("where papers come from").add_argument
    sources("--engine", metavar="ENGINE", help="one or several, such as serper,openalex (default: auto, see below)")
    sources(
        "--reference_sources",
        metavar="NAMES",
        help='who tells what papers without a page cite: openalex,semantic_scholar, "" = nobody (default: as --engine)',
    )
    sources("--library", metavar="PATH", help="a built library, JSON-lines file or library server: engine and source")
    sources("--retrieval", metavar="MODE", help="how a library is searched: auto, bm25, dense, hybrid (default: auto)")
    sources(
        "--end_date", metavar="DATE", help="no paper later than YYYY-MM-DD (JSON lines: published_time less a week)"
    )
    sources("--undated", metavar="drop|keep", help="papers without a date when there is an end date (default: drop)")
    sources(
        "--cache_dir", metavar="DIR", help='what was fetched and embedded is kept here ("" = not kept; default: auto)'
    )
    sources("--timeout_seconds", type=float, metavar="X", help="of one try of a web call (60)")
    sources("--retries", type=int, metavar="N", help="of a web call that failed (4)")
    for service in ("serper", "arxiv_api", "arxiv_html", "ar5iv", "openalex", "semantic_scholar"):
        sources(f"--{service}_base", metavar="URL", help=argparse.SUPPRESS)
    crawl = parser.add_argument_group("the crawl (defaults: the paper's, or those of the chosen config)").add_argument
    crawl("--expand_layers", type=int, metavar="N", help="layers of citations to follow (2)")
    crawl("--search_queries", type=int, metavar="N", help="search queries kept (5)")
    crawl("--search_papers", type=int, metavar="N", help="results per search query (10)")
    crawl("--expand_papers", type=int, metavar="N", help="papers expanded in each layer but the first (20)")
    crawl("--first_layer_expand_papers", type=int, metavar="N", help="papers expanded in the first layer (all)")
    crawl("--cited_by", type=int, metavar="N", help="papers citing it that are taken for each paper expanded (0)")
    crawl("--threads_num", type=int, metavar="N", help="web calls under way at once (20)")
    crawl("--select_threshold", type=float, metavar="X", help="a paper is selected above this score (0.5)")
    crawl(
        "--reasons", type=int, metavar="N", help="ask the selector why, of its N best selected papers, a call each (0)"
    )
    crawl("--temperature", type=float, metavar="X", help="of the crawler, 0 = greedy (0)")
    crawl("--top_p", type=float, metavar="X", help="of the crawler (1)")
    crawl("--sampling_seed", dest="seed", type=int, metavar="N", help="of the crawler's sampling (0)")
    crawl("--ensemble_runs", type=int, metavar="N", help="runs whose trees are united, the second on sampled (1)")
    crawl("--ensemble_temperature", type=float, metavar="X", help="of the sampled runs (2.0)")
    crawl("--ensemble_top_p", type=float, metavar="X", help="of the sampled runs (0.8)")
    budgets = parser.add_argument_group("budgets: reaching one ends the run cleanly").add_argument
    budgets("--max_papers_scored", type=int, metavar="N", help="papers scored per query")
    budgets("--max_model_calls", type=int, metavar="N", help="crawler replies and selector scores per query")
    budgets("--max_seconds", type=float, metavar="X", help="wall seconds per query")
    budgets(
        "--stop_when_saturated",
        action="store_const",
        const=SATURATED_AFTER,
        help=f"end after {SATURATED_AFTER} new papers in a row of which none was selected",
    )
    many = parser.add_argument_group("many queries (--input_file)").add_argument
    many(
        "--queries_at_once",
        type=int,
        metavar="N",
        help="queries that run side by side (default: 8 where a server answers, 1 for models in this process)",
    )
    many(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run them on the Ray cluster at ADDRESS (default: the one that RAY_ADDRESS or Ray itself names)",
    )
    many(
        "--ray_workers", type=int, metavar="N", help="agents on the cluster (default: one a machine, or a GPU if used)"
    )
    shown = parser.add_argument_group("output").add_argument
    shown(
        "--format",
        choices=["table", "tree", *FORMATS],
        help="of stdout (default: table; with --input_file nothing); bibtex, ris, csl-json, markdown: selected papers",
    )
    shown("--top", type=int, default=20, metavar="N", help="papers listed in the table (20)")
    shown(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep the run there: methods text, every decision, and all that --replay needs",
    )
    shown("--replay", type=Path, metavar="DIR", help="repeat a recorded run, without network or models")
    shown("--overwrite", action="store_true", help="run queries again whose results are in the output folder")
    shown("--quiet", "-q", action="store_true", help="no progress, no notes")
    shown("--verbose", "-v", action="store_true", help="every action and everything that was skipped")
    return parser


_NOT_SETTINGS = frozenset(
    {
        "query",
        "record",
        "replay",
        "seeds",
        "input_file",
        "dataset_format",
        "output_folder",
        "config",
        "end_date",
        "format",
        "top",
        "overwrite",
        "quiet",
        "ray",
        "ray_workers",
        "verbose",
    }
)


def settings_in(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that are settings."""
    return {name: value for name, value in vars(args).items() if name not in _NOT_SETTINGS}
