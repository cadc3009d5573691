"""References lead to the paper they mean, however they are printed or damaged, and to none where there is doubt."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import LibraryError
from pasa.library import Library, build_library
from pasa.library.letters import Letters, Mark, fold
from pasa.library.store import TitleRow
from pasa.library.title_index import COLUMNS
from pasa.library.title_writer import index_titles
from pasa.paper import Reference
from tests.library_rows import write_rows

ATTENTION = "Attention Is All You Need"
ADAM = "Adam: A Method for Stochastic Optimization"
BERT = "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding"
BRIDGE = "Aligned Diffusion Schrödinger Bridges"
PRIVACY = "Evaluating Differentially Private Machine Learning in Practice"
SURVEY = "A Survey on Retrieval-Augmented Text Generation"
OBJECTS = "Objaverse: A Universe of Annotated 3D Objects"
ALPHA = "The $\\alpha$-divergence in Variational Inference"
ROWS: list[dict[str, object]] = [
    {"title": ATTENTION, "arxiv_id": "1706.03762"},
    {"title": ADAM, "arxiv_id": "1412.6980"},
    {"title": BERT, "date": "2018"},
    {"title": BRIDGE},
    {"title": PRIVACY},
    {"title": SURVEY},
    {"title": OBJECTS, "arxiv_id": "2212.08051"},
    {"title": "Llama 2: Open Foundation and Fine-Tuned Chat Models"},
    {"title": "Learning with Convex Relaxations for Robust Graph Matching"},
    {"title": "Autoregressive Image Generation without Vector Quantization"},
    {"title": "Proceedings of the 29th International Conference on Machine Learning"},
    {"title": "TAO: A Large-Scale Benchmark for Tracking Any Object"},
    {"title": "LINC: A Neurosymbolic Approach for Logical Reasoning"},
    {"title": ALPHA},
    {"title": "Quantifying Uncertainty in Process Monitoring: An Operations Research Perspective"},
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("references")
    build_library([write_rows(folder / "rows.jsonl", ROWS)], folder / "L")
    return Library.open(folder / "L")


def title_in(library: Library, raw: str) -> str | None:
    (found,) = library.papers_by_reference([Reference("", raw=raw)])
    return found.title if found else None


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("A. Vaswani et al. Attention is all you need. In NeurIPS, 2017.", ATTENTION),
        ("A. Vaswani and N. Shazeer, 'Attention is all you need,' in Proc. NIPS, 2017, pp. 1-9.", ATTENTION),
        ("Vaswani, A., and Shazeer, N. (2017) Attention is all you need. Advances in NIPS 30.", ATTENTION),
        ("[12] Ashish Vaswani, Attention is all you need, In NIPS, 2017.", ATTENTION),
        ("Attention is all you need. Ashish Vaswani. NIPS 2017.", ATTENTION),
        ("Jane Doe. Evaluating differen-\ntially private ma- chine learning in prac- tice. USENIX, 2019.", PRIVACY),
        ("Jane Doe. Evaluatingdifferentially privatemachine learninginpractice. USENIX, 2019.", PRIVACY),
        ("Jane Doe. Evaluating di erentially private machine leaming in practice. USENIX, 2019.", PRIVACY),
        ("Jane Doe. Evaluating diﬀerentially private machine learning in practice. USENIX, 2019.", PRIVACY),
        ("Jane Doe. Eva1uating differentia1ly private machine 1earning in practice. USENIX, 2019.", PRIVACY),
        ("V. Somnath. Aligned diffusion schrodinger bridges. In UAI, 2023.", BRIDGE),
        ("V. Somnath. Aligned diffusion schr¨ odinger bridges. In UAI, 2023.", BRIDGE),
        ('V. Somnath. Aligned diffusion Schr\\"odinger bridges. In UAI, 2023.', BRIDGE),
        ("V. Somnath. Aligned diffusion schrdinger bridges. In UAI, 2023.", BRIDGE),
        ("M. Deitke and A. Farhadi. Objaverse. In Proc. IEEE/CVF CVPR, pages 1-9, 2023.", OBJECTS),
        ("Jacob Devlin. BERT. In NAACL, 2019.", BERT),
        ("D. P. Kingma and J. Ba. A method for stochastic optimization. CoRR, 2014.", ADAM),
        ("T. Minka. The α-divergence in variational inference. 2005.", ALPHA),
        ("T. Minka. The alpha-divergence in variational inferences. 2005.", ALPHA),
    ],
)  # fmt: skip
def test_the_title_is_found_in_the_printed_entry(library: Library, raw: str, title: str) -> None:
    assert title_in(library, raw) == title


@pytest.mark.parametrize(
    "raw",
    [
        # a longer title that begins with a known one, or ends with one
        "Y. Huang. A survey on retrieval-augmented text generation for large language models. arXiv, 2024.",
        "J. Doe. Why attention is all you need. 2020.",
        # one word is another
        "Y. Li. Autoregressive video generation without vector quantization. arXiv, 2024.",
        "Y. Li. Learning with nonconvex relaxations for robust graph matching. arXiv, 2024.",
        # another number of a series
        "H. Touvron. Llama 3: Open foundations and fine-tuned chat model. arXiv, 2024.",
        # the venue, not the title
        "G. Hinton. Rectified units. In Proceedings of the 27th International Conference on Machine Learning, 2010.",
        "M. Birattari. The irace package: Iterated racing. Operations Research Perspectives, 3:43-58, 2016.",
        # names of people that are names of papers
        "S. Qu and D. Tao. Upcycling models under domain and category shift. In CVPR, 2023.",
        "Long, X., Lin, C., Liu, Y. Wonder: single image to cross-domain diffusion. arXiv, 2023.",
        # another subtitle behind a short head
        "A. Someone. Adam: the first man. 1999.",
        "",
        "...",
    ],
)
def test_what_is_not_in_the_library_is_not_found(library: Library, raw: str) -> None:
    assert title_in(library, raw) is None


def test_a_cut_off_title_must_be_of_its_paper_s_time(library: Library) -> None:
    assert title_in(library, "Jacob Devlin. BERT. In NAACL, 1995.") is None


def test_a_title_that_was_read_right_needs_no_entry(library: Library) -> None:
    asked = [
        Reference(f"{PRIVACY} (extended)"),
        Reference("Evaluating differentialy private machine learning in practice"),
    ]
    found = library.papers_by_reference([*asked, Reference("Aligned diffusion schroedinger bridges", year="2023")])
    assert [paper.title if paper else None for paper in found[1:]] == [PRIVACY, BRIDGE]


def test_a_title_misread_is_made_good_by_the_entry(library: Library) -> None:
    raw = "Ashish Vaswani and Noam Shazeer. Attention is all you need. In NIPS, 2017."
    (found,) = library.references.resolve([Reference("Ashish Vaswani and Noam Shazeer", raw=raw)])
    assert found is not None
    assert (found.paper.title, found.how) == (ATTENTION, "title in the entry")


@pytest.mark.parametrize(
    "reference",
    [
        Reference("x", arxiv_id="1412.6980v9"),
        Reference("x", doi="10.48550/arXiv.1412.6980"),
        Reference("", raw="D. Kingma. A method for optimization. arXiv preprint arXiv:1412.6980, 2014."),
        Reference("", raw="D. Kingma. A method for optimization. CoRR, abs/1412.6980, 2014."),
    ],
)
def test_an_arxiv_id_leads_to_its_paper(library: Library, reference: Reference) -> None:
    (found,) = library.references.resolve([reference])
    assert found is not None
    assert (found.paper.title, found.how) == (ADAM, "id")


def test_a_mistyped_id_is_not_believed(library: Library) -> None:
    raw = "Hao Wei. Bearing your diffusion model's limitation. URL: https://arxiv.org/abs/1412.6980."
    assert title_in(library, raw) is None
    assert title_in(library, f"Jane Doe. {PRIVACY}. arXiv:1412.6980, 2019.") == PRIVACY


def test_exact_matching_knows_ids_and_letters_only(library: Library) -> None:
    asked = [
        Reference("attention is ALL you need!"),
        Reference("x", arxiv_id="1412.6980"),
        Reference("Aligned diffusion schrodinger bridges"),
        Reference("", raw="A. Vaswani. Attention is all you need. In NeurIPS, 2017."),
    ]
    found = library.papers_by_reference(asked, match="exact")
    assert [paper.title if paper else None for paper in found] == [ATTENTION, ADAM, None, None]


def test_answers_come_in_order_whatever_the_batch(library: Library) -> None:
    asked = [Reference("", raw=f"A. Author. {row['title']}. 2020."[:n]) for row in ROWS for n in (10, 400)] * 60
    whole = library.papers_by_reference(asked)
    assert len(asked) > 1000
    assert whole == [library.papers_by_reference([reference])[0] for reference in asked[: 2 * len(ROWS)]] * 60


def test_many_threads_get_the_same_answers(library: Library) -> None:
    asked = [Reference("", raw=f"A. Author. {row['title']}. 2020.") for row in ROWS]
    expected = [paper and paper.title for paper in library.papers_by_reference(asked)]
    fresh = Library.open(library.path)
    found: list[list[str | None]] = []
    threads = [
        threading.Thread(
            target=lambda: found.append([paper and paper.title for paper in fresh.papers_by_reference(asked)])
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8
    fresh.close()


def test_a_library_built_without_a_title_index_makes_one(library: Library, tmp_path: Path) -> None:
    shutil.copytree(library.path, tmp_path / "L")
    for folder in (tmp_path / "L").glob("gen-*/titles"):
        shutil.rmtree(folder)
    for manifest in (tmp_path / "L").glob("gen-*/library.json"):
        lines = [line for line in manifest.read_text().splitlines() if '"titles/' not in line]
        manifest.write_text("\n".join(lines).replace(",\n }", "\n }"))
    with Library.open(tmp_path / "L") as old:
        assert title_in(old, "V. Somnath. Aligned diffusion schrodinger bridges. In UAI, 2023.") == BRIDGE


def test_a_damaged_title_index_is_told_in_one_line(library: Library, tmp_path: Path) -> None:
    shutil.copytree(library.path, tmp_path / "L")
    for column in (tmp_path / "L").glob("gen-*/titles/part_hashes.npy"):
        column.write_bytes(b"\x00" * column.stat().st_size)
    with Library.open(tmp_path / "L") as broken, pytest.raises(LibraryError, match="--fresh"):
        broken.papers_by_reference([Reference("", raw="A. Author. Something else entirely. 2020.")])


def test_an_index_of_nothing_finds_nothing(library_of: Callable[..., Library]) -> None:
    library = library_of({"title": "Go"})
    assert library.papers_by_reference([Reference("", raw="G. Orwell. Nineteen eighty-four. 1949.")]) == [None]


# --- letters and index ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Schrödinger", 'Schr\\"odinger'),
        ("Čech", "\\v{C}ech"),
        ("café", "cafe\u0301"),
        ("ﬁne ﬂow", "fine flow"),
        ("$\\alpha$-stable", "α‐stable"),
        ("\\textbf{Bold} &amp; \\emph{Slanted}", "Bold & Slanted"),
        ("Øystein Łukasz Straße", "Oystein Lukasz Strasse"),
    ],
)
def test_spellings_of_the_same_letters_fold_alike(one: str, other: str) -> None:
    letters = [Letters.of([fold(text)]).data.tobytes() for text in (one, other)]
    assert letters[0] == letters[1]


@settings(max_examples=60)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.data())
def test_equal_windows_have_equal_hashes_wherever_they_stand(texts: list[str], data: st.DataObject) -> None:
    row = Letters.of([fold(text) for text in texts])
    assert len(row.bounds) == len(texts) + 1
    assert row.bounds[-1] == len(row.data)
    if not len(row.data):
        return
    start = data.draw(st.integers(0, len(row.data) - 1))
    length = data.draw(st.integers(1, len(row.data) - start))
    again = Letters.of(["other words before ", row.data[start : start + length].tobytes().decode("utf-8", "replace")])
    at = np.array([int(again.bounds[1])])
    if again.data[at[0] :].tobytes() == row.data[start : start + length].tobytes():
        assert row.hashes(np.array([start]), length) == again.hashes(at, length)


def test_marks_say_how_firmly_a_title_can_end() -> None:
    row = Letters.of([fold("Ab cd, ef: gh. don't")])
    assert row.data.tobytes() == b"abcdefghdont"
    assert [Mark(mark) for mark in row.marks] == [
        Mark.STOP, Mark.INSIDE, Mark.WORD, Mark.INSIDE, Mark.COMMA, Mark.INSIDE, Mark.COLON, Mark.INSIDE, Mark.STOP,
        Mark.INSIDE, Mark.INSIDE, Mark.WORD, Mark.STOP,
    ]  # fmt: skip


def test_titles_that_stay_on_disk_are_found_again() -> None:
    opened = index_titles(TitleRow(n, str(row["title"]), 2000 + n) for n, row in enumerate(ROWS, 1))
    assert opened.title_letters(0) == b"AttentionIsAllYouNeed"
    assert opened.papers.tolist() == list(range(1, len(ROWS) + 1))
    assert opened.years.tolist() == [2000 + n for n in range(1, len(ROWS) + 1)]
    assert opened.bounds[-1] == len(opened.letters)


def test_an_index_of_no_titles_finds_none() -> None:
    assert index_titles([]).uses(["attention"]) == [0]


def test_titles_indexed_in_several_chunks_give_the_same_index(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [TitleRow(n, str(row["title"]), 0) for n, row in enumerate(ROWS, 1)]
    at_once = index_titles(rows)
    monkeypatch.setattr("pasa.library.title_writer._CHUNK", 3)
    in_chunks = index_titles(rows)
    for name in COLUMNS:
        assert np.array_equal(getattr(at_once, name), getattr(in_chunks, name)), name
