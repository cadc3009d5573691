#!/usr/bin/env python
"""Serve a paper library as Serper answers, so that agents built on Serper run offline and at no cost.

    python scripts/serve_library.py --library data/library --port 8100
    SERPER_API_KEY=any python run_paper_agent.py --engine serper --serper_base http://127.0.0.1:8100 \\
        --library http://127.0.0.1:8100 "which papers study ...?"

POST /search takes and gives what https://google.serper.dev/search does, `site:` and `before:` in the query included;
/metadata and /references give records and citations (pasa/web/library_server.py says how). Ctrl-C or SIGTERM ends it
once the requests under way are answered.

Exit codes: 0 ended by a signal · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import UserError
from pasa.flags import OneLineParser
from pasa.library import Library
from pasa.web.library_server import library_app
from pasa.web.serving import listen, serve, url_of


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with Library.open(options.library) as library, listen(options.host, options.port) as listener:
            address, papers = url_of(listener), library.num_papers

            def tell() -> None:
                print(f"serving {papers:,} papers of {options.library} at {address}", flush=True)

            serve(library_app(library, options.key, options.undated), listener, tell)
    except UserError as error:
        print(f"serve_library: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, type=Path, metavar="L", help="a built library, or a file of papers")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=8100, help="the port to listen on; 0 takes a free one (8100)")
    parser.add_argument("--key", metavar="KEY", help="refuse requests whose X-API-KEY is another (default: take any)")
    parser.add_argument(
        "--undated",
        choices=("drop", "keep"),
        default="drop",
        help="what before: does with papers of unknown date (drop)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
