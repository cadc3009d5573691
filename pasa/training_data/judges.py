"""What judges decided about (query, paper) pairs: a JSON-lines file that models or people fill in.

    {"qid": "...", "question": "...", "title": "...", "verdict": true | false | null, "reason": "..."}

A row whose `verdict` is null waits for somebody.

A panel of small models votes first. Where they agree that is the verdict; where not, a referee (a large model) is
asked, or a person. The verdicts mend the training data (scripts/build_sft_selector.py --verdicts), judges trained on it
sit on the next panel, and so on in stages, each of which leaves less to the referee.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pasa.evaluation.metrics import SELECT_THRESHOLD
from pasa.models.base import Scorer
from pasa.paper import title_key
from pasa.prompts import PromptSet, select_request
from pasa.training_data.build import BadRows, numbered_lines


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a paper answers a query, and why; the reason may be ""."""

    is_answer: bool
    reason: str = ""


def read_verdicts(path: Path, bad: BadRows) -> dict[tuple[str, str], Verdict]:
    """(qid, the paper's title key) -> verdict; rows that nobody has decided are left out, and bad rows.

    Raises ConfigError: no such file, too many bad rows.
    """
    verdicts = {}
    for where, line in numbered_lines(path):
        try:
            if found := _verdict(json.loads(line)):
                verdicts[found[0]] = found[1]
        except (ValueError, RecursionError) as error:
            bad.add(where, str(error))
    return verdicts


def _verdict(row: Any) -> tuple[tuple[str, str], Verdict] | None:
    if not isinstance(row, dict) or not isinstance(row.get("verdict"), bool | None):
        raise ValueError("`verdict` must be true, false or null")
    if row.get("verdict") is None:
        return None
    if not isinstance(row.get("qid"), str) or not isinstance(row.get("title"), str):
        raise ValueError("`qid` and `title` must say which pair the verdict is on")
    return (row["qid"], title_key(row["title"])), Verdict(row["verdict"], str(row.get("reason") or ""))


# -- a panel ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A pair to judge, and what its label says."""

    qid: str
    question: str
    title: str
    abstract: str
    label: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the judges scored, and what came of it."""

    case: Case
    scores: tuple[float, ...]  # one a judge
    agreed: bool  # all judges are on the same side
    referee: float | None  # the referee's score; None where it was not asked
    verdict: bool | None  # None = waits for a person

    def row(self) -> dict[str, Any]:
        """The row of a verdicts file, with the scores beside it."""
        return {
            "qid": self.case.qid,
            "question": self.case.question,
            "title": self.case.title,
            "abstract": self.case.abstract,
            "label": self.case.label,
            "scores": [round(float(score), 4) for score in self.scores],
            "referee": None if self.referee is None else round(float(self.referee), 4),
            "verdict": self.verdict,
            "reason": "",
        }


def hold_panel(
    cases: Sequence[Case],
    judges: Sequence[Scorer],
    referee: Scorer | None = None,
    control_share: float = 0.0,
    seed: int = 0,
    referee_prompts: PromptSet = "pasa",
) -> list[Ruling]:
    """One ruling a case, in order: the judges' where they agree, else the referee's, else a person's to give.

    `control_share` of the cases on which the judges agree go to the referee too and are ruled by it: they tell how
    often a panel that agrees is wrong. Raises ModelError.
    """
    asked = [select_request(case.question, case.title, case.abstract) for case in cases]
    votes = [judge.score(asked) for judge in judges]
    scores = [tuple(vote[at] for vote in votes) for at in range(len(cases))]
    agreed = [len({says_true(score) for score in row}) == 1 for row in scores]
    rng = random.Random(seed)
    drawn = [rng.random() < control_share for _ in cases]
    sent = [at for at in range(len(cases)) if referee and (drawn[at] or not agreed[at])]
    requests = [select_request(cases[at].question, cases[at].title, cases[at].abstract, referee_prompts) for at in sent]
    told = dict(zip(sent, referee.score(requests), strict=True)) if referee and sent else {}
    return [
        Ruling(
            case,
            scores[at],
            agreed[at],
            told.get(at),
            says_true(told[at]) if at in told else says_true(scores[at][0]) if agreed[at] else None,
        )
        for at, case in enumerate(cases)
    ]


def panel_report(rulings: Sequence[Ruling]) -> dict[str, float]:
    """How far the judges agree, with whom, and how much of the work they took over; shares in [0, 1].

    `dollars` is what the referee took, `dollars_for_all` what it would have taken for every pair at the same rate.
    """
    agreed = [ruling for ruling in rulings if ruling.agreed]
    sent = [ruling for ruling in rulings if ruling.referee is not None]
    control = [ruling for ruling in sent if ruling.agreed]
    decided = [ruling for ruling in rulings if ruling.verdict is not None]
    dollars = sum(getattr(ruling.referee, "dollars", 0.0) for ruling in sent)
    report = {
        "pairs": len(rulings),
        "judges_agree": _share(len(agreed), len(rulings)),
        "agreed_as_labelled": _share(sum(says_true(r.scores[0]) is r.case.label for r in agreed), len(agreed)),
        "verdicts_as_labelled": _share(sum(r.verdict is r.case.label for r in decided), len(decided)),
        "asked_of_referee": _share(len(sent), len(rulings)),
        "control_pairs": len(control),
        "referee_agrees_with_agreed": _share(
            sum(says_true(r.scores[0]) is says_true(r.referee or 0.0) for r in control), len(control)
        ),
        "left_for_a_person": len(rulings) - len(decided),
        "dollars": dollars,
        "dollars_for_all": _share(dollars, len(sent)) * len(rulings),
    }
    for judge in range(len(rulings[0].scores) if rulings else 0):
        right = sum(says_true(ruling.scores[judge]) is ruling.verdict for ruling in decided)
        report[f"judge_{judge}_as_verdicts"] = _share(right, len(decided))
    return report


def says_true(score: float) -> bool:
    """Whether a judge with this score takes the paper for an answer."""
    return score > SELECT_THRESHOLD


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
