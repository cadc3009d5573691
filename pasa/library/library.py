"""The paper library: hundreds of thousands of papers on disk, found by arXiv id, by title and by words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple

from pasa.errors import LibraryError
from pasa.library import generations
from pasa.library.citations import Citations
from pasa.library.index import IndexHit, TextIndex, Undated
from pasa.library.manifest import INDEX_FOLDER, STORE_FILE, TITLES_FOLDER, Manifest, read_manifest
from pasa.library.plain import library_of_file
from pasa.library.references import ReferenceResolver
from pasa.library.store import PaperStore
from pasa.library.title_index import TitleIndex
from pasa.library.title_writer import index_titles
from pasa.paper import Paper, Reference, parse_arxiv_id

ReferenceMatch = Literal["exact", "fuzzy"]


class ScoredPaper(NamedTuple):
    paper: Paper
    score: float  # BM25; comparable within one query only


class Library:
    """A paper library opened for reading: safe from any number of threads, and untouched by a later build.

    Papers come back with their sections (None where the library has no full text of them) and with
    `source` "SearchFrom:local_paper_db". Every method raises LibraryError when the files turn out damaged.
    """

    def __init__(self, store: PaperStore, index: TextIndex, manifest: Manifest, path: Path, hold: IO[bytes]) -> None:
        self._store = store
        self._index = index
        self._manifest = manifest
        self._citations = Citations(store)
        self._hold = hold  # its lock keeps the generation from being removed
        self.path = path
        self.references = ReferenceResolver(store, self._open_titles)

    @classmethod
    def open(cls, path: str | Path, cache_dir: Path | None = None) -> Library:
        """The library that scripts/build_library.py wrote to `path`.

        A plain file of papers (.jsonl and the like) opens too: its library is built in `cache_dir` the first time.
        Raises LibraryError: missing, damaged, of another version.
        """
        path = Path(path)
        if path.is_file():
            path = library_of_file(path, cache_dir)
        generation, hold = generations.hold_current(path)
        try:
            manifest = read_manifest(generation)
            store = PaperStore(generation / STORE_FILE)
            index = TextIndex(generation / INDEX_FOLDER)
            if index.num_papers != manifest.papers:
                raise LibraryError(f"the index of {path} is not complete: build the library again with --fresh")
        except LibraryError:
            hold.close()
            raise
        return cls(store, index, manifest, path, hold)

    @property
    def num_papers(self) -> int:
        return self._manifest.papers

    @property
    def generation(self) -> Path:
        """The folder of the generation that is open; a later build of the library makes another."""
        return Path(self._hold.name).parent

    def info(self) -> Manifest:
        """Counts, sources and build date."""
        return self._manifest

    def paper(self, arxiv_id: str) -> Paper | None:
        """The paper with this arXiv id (a version is ignored), or None."""
        return self.papers_by_id([arxiv_id]).get(arxiv_id)

    def papers_by_id(self, arxiv_ids: Iterable[str]) -> dict[str, Paper]:
        """The papers with these arXiv ids (versions are ignored), by the id asked for; an unknown id is absent."""
        asked = {arxiv_id: parsed for arxiv_id in arxiv_ids if (parsed := parse_arxiv_id(arxiv_id))}
        found = self._store.by_id(dict.fromkeys(asked.values()))
        return {arxiv_id: found[parsed] for arxiv_id, parsed in asked.items() if parsed in found}

    def paper_by_title(self, title: str) -> Paper | None:
        """The paper whose title has the same letters, or None."""
        return self._store.by_title([title])[0]

    def papers_by_reference(
        self, references: Sequence[Reference], match: ReferenceMatch = "fuzzy"
    ) -> list[Paper | None]:
        """The paper each reference means, None where it is not known.

        "exact": by arXiv id, else by its title's letters. "fuzzy": where that fails, also by a DOI that holds an arXiv
        id, by a title that is damaged or cut off, and by the printed entry (`references` tells by which).
        """
        if match == "fuzzy":
            return [resolved.paper if resolved else None for resolved in self.references.resolve(references)]
        by_id = self.papers_by_id([reference.arxiv_id for reference in references if reference.arxiv_id])
        by_title = self._store.by_title([reference.title for reference in references])
        return [
            by_id.get(reference.arxiv_id or "") or titled
            for reference, titled in zip(references, by_title, strict=True)
        ]

    def numbers_by_reference(self, references: Sequence[Reference]) -> list[int | None]:
        """The record number of the paper each reference means exactly, None where it is not known."""
        by_id = self._store.numbers_by_id(reference.arxiv_id for reference in references if reference.arxiv_id)
        by_title = self._store.numbers_by_title(reference.title for reference in references)
        return [
            by_id.get(reference.arxiv_id or "") or titled
            for reference, titled in zip(references, by_title, strict=True)
        ]

    def _open_titles(self) -> TitleIndex:
        """The title index; made now for a library that was built without one."""
        folder = self.generation / TITLES_FOLDER
        return TitleIndex.open(folder) if folder.is_dir() else index_titles(self._store.title_rows())

    def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        """At most `limit` papers whose sections cite `paper`, the most cited here first; [] for an unknown paper.

        The first call reads all sections of the library: 10 s for a million references.
        """
        return self._citations.citing(paper, limit)

    def times_cited(self, papers: Sequence[Paper]) -> list[int]:
        """How many of the library's papers cite each, as citing_papers knows them; 0 for a paper it does not have."""
        return self._citations.times_cited(papers)

    def search(
        self,
        query: str,
        limit: int,
        end_date: dt.date | None = None,
        undated: Undated = "drop",
        offset: int = 0,
        arxiv_only: bool = False,
    ) -> list[ScoredPaper]:
        """At most `limit` papers by BM25 over title and abstract, best first, equal scores by the papers' keys.

        `query` is plain words; nothing in it is syntax. With `end_date` no paper comes back whose latest possible
        day (pasa.paper) is after it; papers of unknown date come back only if `undated` is "keep". The best `offset`
        papers are left out; with `arxiv_only` all that have no arXiv id.
        """
        # In the order of keys arXiv ids come before "title:...": they begin with a digit or a letter up to "s".
        last_rank = self._manifest.with_arxiv_id if arxiv_only else None
        return self.scored_papers(self._index.search(query, offset + limit, end_date, undated, last_rank)[offset:])

    def hits(
        self, query: str, limit: int, end_date: dt.date | None = None, undated: Undated = "drop"
    ) -> list[IndexHit]:
        """What `search` finds, as record numbers, without reading the papers."""
        return self._index.search(query, limit, end_date, undated)

    def scored_papers(self, hits: Sequence[IndexHit]) -> list[ScoredPaper]:
        """The papers of these hits, in order."""
        papers = self.papers_by_number([hit.number for hit in hits])
        return [ScoredPaper(paper, hit.score) for paper, hit in zip(papers, hits, strict=True)]

    def papers_by_number(self, numbers: Iterable[int]) -> list[Paper]:
        """The papers with these record numbers, in order. Raises LibraryError for a number without a record."""
        return self._store.by_number(numbers)

    def numbered_papers(self) -> Iterator[tuple[int, Paper]]:
        """Every paper with its record number, in their order, without sections, which take most of the time."""
        return self._store.without_sections()

    def papers_with_sections(self) -> Iterator[tuple[int, Paper]]:
        """The papers with full text and their record numbers, in their order."""
        return self._store.with_sections()

    def document_frequency(self, term: str) -> int:
        """How many papers have all the term's words, stemmed, in title or abstract; function words count as in all."""
        return self._index.document_frequency(term)

    def words(self, text: str) -> list[str]:
        """The text's words as the index knows them: folded, stemmed, without function words."""
        return self._index.words(text)

    def __len__(self) -> int:
        return self.num_papers

    def __iter__(self) -> Iterator[Paper]:
        """Every paper, in the order in which they came into the library."""
        return iter(self._store)

    def close(self) -> None:
        """Lets go of the files. The library must not be used afterwards."""
        self._store.close()
        self._hold.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
