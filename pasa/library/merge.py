"""How two descriptions of one paper become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pasa.paper import Paper, Section


def merge(old: Paper, new: Paper) -> Paper:
    """`old` with every field in which `new` is richer taken from `new`.

    The two must be one paper: the same arXiv id, or the same title key and at most one arXiv id between them.
    The title stays `old`'s, unless the paper was renamed: the same arXiv id under another title key. A date is richer
    when it is more precise; of two equally precise dates the earlier one stands, the day the paper first appeared.
    Merging the same row twice changes nothing.
    """
    is_renamed = old.arxiv_id is not None and old.arxiv_id == new.arxiv_id and old.title_key != new.title_key
    return replace(
        old,
        title=new.title if is_renamed else old.title,
        abstract=max(old.abstract, new.abstract, key=len),
        arxiv_id=old.arxiv_id or new.arxiv_id,
        date=_richer_date(old.date, new.date),
        authors=max(old.authors, new.authors, key=len),
        sections=_richer_sections(old.sections, new.sections),
    )


def _richer_date(old: str | None, new: str | None) -> str | None:
    if not old or not new:
        return old or new
    return min(old, new, key=lambda date: (-len(date), date))


def _richer_sections(old: tuple[Section, ...] | None, new: tuple[Section, ...] | None) -> tuple[Section, ...] | None:
    if old is None or new is None:
        return new if old is None else old
    return new if _citations(new) > _citations(old) else old


def _citations(sections: Iterable[Section]) -> int:
    return sum(len(section.references) for section in sections)
