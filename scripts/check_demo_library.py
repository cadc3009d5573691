#!/usr/bin/env python
"""Check data/demo against the shared data: titles, ids, dates, links, and that no summary copies an abstract.

    python scripts/check_demo_library.py                    # exit code 1 and one line a mismatch
    python scripts/check_demo_library.py --update-links     # rewrite every `sections` from the full texts

Facts that the shared data cannot confirm must be listed, with where they come from, in data/demo/SOURCES.json.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import lzma
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pasa.paper import arxiv_id_month, find_arxiv_id, title_key  # noqa: E402

Row = dict[str, Any]  # one line of a papers file: title, abstract, arxiv_id, date, sections

MAX_SHARED_WORDS = 7  # this many consecutive words may be shared with the abstract, not one more
_FIVE_DIGITS_SINCE = 1501  # arXiv ids have five digits after the dot from January 2015, four before
_DAMAGED_ID = re.compile(r"\d{4}\.\d+")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass
class Evidence:
    """What the shared data says about the demo papers, by title key."""

    papers: dict[str, Row] = field(default_factory=dict)  # rows of papers.jsonl
    fulltexts: dict[str, Row] = field(default_factory=dict)  # rows of fulltext.jsonl
    ids: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # arXiv ids seen
    printed: set[str] = field(default_factory=set)  # titles found in a bibliography entry or an answer list


def repair_arxiv_id(text: str) -> str:
    """The id that a spreadsheet turned into a number: "1706.0374100000001" is 1706.03741, "1703.034" is 1703.03400."""
    if not _DAMAGED_ID.fullmatch(text):
        return text
    month = int(text.split(".")[0])
    return f"{float(text):0{10 if month >= _FIVE_DIGITS_SINCE else 9}.{5 if month >= _FIVE_DIGITS_SINCE else 4}f}"


def longest_shared_run(left: str, right: str) -> str:
    """The longest sequence of consecutive words that both texts hold, "" if they share no word."""
    a, b = _WORD.findall(left.lower()), _WORD.findall(right.lower())
    best, end = 0, 0
    previous = [0] * (len(b) + 1)  # previous[j] = length of the common run ending at a[i-1], b[j-1]
    for i, word in enumerate(a, start=1):
        current = [0] * (len(b) + 1)
        for j, other in enumerate(b, start=1):
            if word == other:
                current[j] = previous[j - 1] + 1
                if current[j] > best:
                    best, end = current[j], i
        previous = current
    return " ".join(a[end - best : end])


def links_inside(fulltext: Row, titles: dict[str, str]) -> dict[str, list[str]]:
    """The full text's sections with the cited titles that are in the demo, spelt as there; `titles` is by key.

    Left out: the section that bears the paper's own name (the PDF's first page), citations of itself, titles that
    no bibliography entry spells out (a wrong match), sections left empty.
    """
    own = title_key(fulltext["title"])
    bibliography = [title_key(reference["text"]) for reference in fulltext["references"]]
    sections: dict[str, list[str]] = {}
    for raw_name, cited in fulltext["sections"].items():
        name = " ".join(html.unescape(raw_name).split())
        keys = dict.fromkeys(title_key(title) for title in cited)
        kept = [titles[k] for k in keys if k in titles and k != own and any(k in entry for entry in bibliography)]
        if kept and title_key(name) != own:
            sections[name] = kept
    return sections


def open_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSON lines file, plain, .gz or .xz."""
    opener: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def gather_evidence(demo: list[Row], papers: Path, fulltext: Path, questions: Path) -> Evidence:
    """Everything the three shared files say about the demo papers."""
    wanted = {title_key(row["title"]) for row in demo}
    evidence = Evidence()
    for row in open_rows(papers):
        key = title_key(row["title"])
        if key in wanted:
            known = evidence.papers.setdefault(key, row)
            known["date"] = max(known["date"] or "", row["date"] or "", key=len) or None
            if row["arxiv_id"]:
                evidence.ids[key][repair_arxiv_id(row["arxiv_id"])] += 1
    for row in open_rows(questions):
        for title, arxiv_id in zip(row["answer"], row["answer_arxiv_id"], strict=True):
            evidence.ids[title_key(title)][arxiv_id] += 1
            evidence.printed.add(title_key(title))
    for row in open_rows(fulltext):
        key = title_key(row["title"])
        if key in wanted:
            evidence.fulltexts[key] = row
        read_bibliography(row["references"], wanted, evidence)
    return evidence


def read_bibliography(references: Iterable[Row], wanted: set[str], evidence: Evidence) -> None:
    """Note which wanted titles the entries print, and the arXiv ids printed beside them."""
    unmatched = wanted - evidence.papers.keys() | {key for key in wanted if not evidence.ids[key]}
    for reference in references:
        entry, arxiv_id = title_key(reference["text"]), find_arxiv_id(reference["text"])
        matched = title_key(reference["title"] or "")
        for key in unmatched | ({matched} & wanted):
            if key in entry:
                evidence.printed.add(key)
                if arxiv_id:
                    evidence.ids[key][arxiv_id] += 1


def paper_problems(row: Row, evidence: Evidence, titles: dict[str, str], listed: dict[str, str]) -> Iterator[str]:
    """What is wrong with one demo paper, one line each; `listed` is SOURCES.json's facts from elsewhere."""
    key, title = title_key(row["title"]), row["title"]
    known, fulltext = evidence.papers.get(key), evidence.fulltexts.get(key)
    confirmed = True
    if known is None and fulltext is None and key not in evidence.printed:
        confirmed = False
    if row["arxiv_id"]:
        seen = evidence.ids[key].most_common(1)
        confirmed = confirmed and bool(seen)
        if seen and seen[0][0] != row["arxiv_id"]:
            yield f"{title}: arXiv id {row['arxiv_id']}, the shared data says {seen[0][0]}"
        days = {arxiv_id_month(row["arxiv_id"])} | {known["date"] if known else None}
        if row["date"] not in days:
            yield f"{title}: date {row['date']}, expected one of {sorted(day for day in days if day)}"
    elif fulltext is None:
        confirmed = False  # its date is nowhere in the shared data
    elif row["date"] != fulltext["date"]:
        yield f"{title}: date {row['date']}, the shared data says {fulltext['date']}"
    if confirmed == (title in listed):
        yield f"{title}: {'is confirmed, remove it from' if confirmed else 'is not confirmed, list it in'} SOURCES.json"
    if fulltext is not None and row.get("sections") != links_inside(fulltext, titles):
        yield f"{title}: sections differ from the full text's, run with --update-links"
    if fulltext is None and row.get("sections"):
        yield f"{title}: has sections, but no full text in the shared data"
    for source in (known, fulltext):
        run = longest_shared_run(row["abstract"], source["abstract"] or "") if source else ""
        if len(run.split()) > MAX_SHARED_WORDS:
            yield f"{title}: summary shares with the abstract: {run!r}"


def problems(demo: list[Row], listed: dict[str, str], evidence: Evidence) -> list[str]:
    """Every mismatch between the demo library and the shared data, one line each, in the demo's order."""
    titles = {title_key(row["title"]): row["title"] for row in demo}
    found = [line for row in demo for line in paper_problems(row, evidence, titles, listed)]
    return found + [
        f"{title}: in SOURCES.json but not in the demo" for title in sorted(listed.keys() - titles.values())
    ]


def update_links(demo: list[Row], evidence: Evidence) -> None:
    """Set every demo paper's `sections` from its full text; papers without one have none."""
    titles = {title_key(row["title"]): row["title"] for row in demo}
    for row in demo:
        row.pop("sections", None)
        if (fulltext := evidence.fulltexts.get(title_key(row["title"]))) is not None:
            row["sections"] = links_inside(fulltext, titles)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    shared = ROOT.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=ROOT / "data" / "demo", help="folder of the demo library")
    parser.add_argument("--papers", type=Path, default=shared / "papers.jsonl.xz")
    parser.add_argument("--fulltext", type=Path, default=shared / "fulltext.jsonl.gz")
    parser.add_argument("--dev-questions", type=Path, default=shared / "autoscholarquery_dev.jsonl")
    parser.add_argument("--update-links", action="store_true", help="rewrite the sections, then check")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    for path in (args.papers, args.fulltext, args.dev_questions):
        if not path.is_file():
            print(f"{path} is not there: name the shared data with --papers, --fulltext, --dev-questions")
            return 2
    demo = list(open_rows(args.demo / "papers.jsonl"))
    listed = json.loads((args.demo / "SOURCES.json").read_text(encoding="utf-8"))["not_in_shared_data"]
    evidence = gather_evidence(demo, args.papers, args.fulltext, args.dev_questions)
    if args.update_links:
        update_links(demo, evidence)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in demo)
        (args.demo / "papers.jsonl").write_text("".join(lines), encoding="utf-8")
    found = problems(demo, listed, evidence)
    print(
        "\n".join(found) if found else f"{len(demo)} papers agree with the shared data ({len(listed)} from elsewhere)"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
