"""A panel of small judges that gets better in stages, as verdicts come in.

The first cases all go to the referee; on its verdicts each judge learns where it says yes. In each stage the panel
votes on new cases; what it differs on goes to the referee; on all verdicts so far the judges learn again, and from the
second stage on a student, who sees what every judge read, votes with those judges that were right most often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pasa.models.base import Scorer, SelectRequest
from pasa.prompts import PromptSet, select_request
from pasa.training_data.judges import Case, Ruling, says_true
from pasa.training_data.small_judges import Floats, LogisticCurve, area_under_curve, fit_curve

STUDENT = "student"
JUDGES_BESIDE_STUDENT = 2
CHARACTERS_A_TOKEN = 4.5  # of English in the models' vocabularies, where a judge counts no tokens


@dataclass(frozen=True, slots=True)
class Stage:
    """One round of votes."""

    panel: tuple[str, ...]  # who voted
    rulings: tuple[Ruling, ...]
    accuracy: dict[str, float]  # of each judge, voting or not, against the labels of the test cases; {} without any
    area: dict[str, float]  # under the ROC curve, of the same


class LabelReferee:
    """Rules as the pairs are labelled: stands in for a large model or a person where neither is there."""

    name = "labels"

    def __init__(self, cases: Sequence[Case]) -> None:
        self._labels = {(case.question, case.title): case.label for case in cases}

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """1 for a pair labelled an answer, else 0."""
        return [float(self._labels[request.query, request.title]) for request in requests]


@dataclass(frozen=True, slots=True)
class _Member:
    """A judge who has learnt: the columns of the readings that it looks at, and its curve."""

    name: str
    columns: tuple[int, ...]
    curve: LogisticCurve

    def scores(self, readings: Floats) -> Floats:
        return self.curve.probability(readings[:, self.columns])


def hold_stages(
    cases: Sequence[Case],
    judges: Sequence[Scorer],
    referee: Scorer,
    seed_cases: int,
    stages: int,
    test_cases: Sequence[Case] = (),
    referee_prompts: PromptSet = "pasa",
) -> list[Stage]:
    """The rounds, the first being the `seed_cases` that the referee rules alone; the others share the rest evenly.

    Raises ModelError; ValueError for fewer cases than rounds.
    """
    if not 0 < seed_cases <= len(cases) - stages:
        raise ValueError(f"{len(cases)} pairs are too few for {seed_cases} to begin with and {stages} stages")
    names = [judge.name for judge in judges]
    readings, test = _read(cases, judges), _read(test_cases, judges)
    labels = np.array([case.label for case in test_cases], bool)
    told = _ask(referee, cases[:seed_cases], referee_prompts)
    seeds = [
        Ruling(case, (), False, score, says_true(score)) for case, score in zip(cases[:seed_cases], told, strict=True)
    ]
    found = [Stage((), tuple(seeds), {}, {})]
    for part in np.array_split(np.arange(seed_cases, len(cases)), stages):
        rulings = [ruling for stage in found for ruling in stage.rulings]
        verdicts = np.array([bool(ruling.verdict) for ruling in rulings])
        members = _members(names, readings[: len(rulings)], verdicts)
        panel = _panel(members, readings[: len(rulings)], rulings, is_first=len(found) == 1)
        part_cases = [cases[at] for at in part]
        rulings = _vote(part_cases, panel, readings[part], referee, referee_prompts)
        scores = {member.name: member.scores(test) for member in members} if len(test) else {}
        found.append(
            Stage(
                tuple(member.name for member in panel),
                tuple(rulings),
                {name: float(np.mean((row > 0.5) == labels)) for name, row in scores.items()},
                {name: area_under_curve(row, labels) for name, row in scores.items()},
            )
        )
    return found


def _read(cases: Sequence[Case], judges: Sequence[Scorer]) -> Floats:
    """What the judges read, [cases, judges]."""
    asked = [select_request(case.question, case.title, case.abstract) for case in cases]
    columns = [[float(score) for score in judge.score(asked)] for judge in judges]
    return np.array(columns).T if cases else np.zeros((0, len(judges)))


def _ask(referee: Scorer, cases: Sequence[Case], prompts: PromptSet) -> list[float]:
    return referee.score([select_request(case.question, case.title, case.abstract, prompts) for case in cases])


def _members(names: Sequence[str], readings: Floats, verdicts: NDArray[np.bool_]) -> list[_Member]:
    """Every judge by its own reading, and the student by all, as they learn from the verdicts."""
    alone = [_Member(name, (at,), fit_curve(readings[:, [at]], verdicts)) for at, name in enumerate(names)]
    return [*alone, _Member(STUDENT, tuple(range(len(names))), fit_curve(readings, verdicts))]


def _panel(members: Sequence[_Member], readings: Floats, rulings: Sequence[Ruling], is_first: bool) -> list[_Member]:
    """Who votes: at first every judge, later the student with those that were right most often before the referee."""
    *judges, student = members
    if is_first:
        return judges
    asked = [at for at, ruling in enumerate(rulings) if ruling.referee is not None]
    verdicts = np.array([bool(rulings[at].verdict) for at in asked])
    right = {m.name: float(np.mean((m.scores(readings[asked]) > 0.5) == verdicts)) for m in judges}
    best = sorted(judges, key=lambda member: -right[member.name])[:JUDGES_BESIDE_STUDENT]
    return [student, *best]


def _vote(
    cases: Sequence[Case], panel: Sequence[_Member], readings: Floats, referee: Scorer, prompts: PromptSet
) -> list[Ruling]:
    scores = np.array([member.scores(readings) for member in panel]).T.tolist()  # [cases][members]
    agreed = [len({says_true(score) for score in row}) == 1 for row in scores]
    differ = [at for at, same in enumerate(agreed) if not same]
    told = dict(zip(differ, _ask(referee, [cases[at] for at in differ], prompts), strict=True)) if differ else {}
    return [
        Ruling(case, tuple(scores[at]), agreed[at], told.get(at), says_true(told[at] if at in told else scores[at][0]))
        for at, case in enumerate(cases)
    ]


def stage_report(stages: Sequence[Stage], referee_prompts: PromptSet = "pasa") -> list[dict[str, float | str]]:
    """What each round and all together came to: shares in [0, 1], and tokens that the referee read.

    `asked_tokens` counts the prompts of what was asked, `all_tokens` those of every pair: what the referee would have
    read without a panel; as the judge counts them, else by CHARACTERS_A_TOKEN.
    """
    rows = [_report(f"stage {at}" if at else "seed", stage.rulings, referee_prompts) for at, stage in enumerate(stages)]
    rows.append(_report("all", [ruling for stage in stages for ruling in stage.rulings], referee_prompts))
    return rows


def _report(name: str, rulings: Sequence[Ruling], prompts: PromptSet) -> dict[str, float | str]:
    agreed = [ruling for ruling in rulings if ruling.agreed]
    asked = [ruling for ruling in rulings if ruling.referee is not None]
    return {
        "round": name,
        "pairs": len(rulings),
        "agreed": _share(len(agreed), len(rulings)),
        "agreed_as_labelled": _share(sum(r.verdict is r.case.label for r in agreed), len(agreed)),
        "verdicts_as_labelled": _share(sum(r.verdict is r.case.label for r in rulings), len(rulings)),
        "asked": len(asked),
        "asked_tokens": sum(_tokens(ruling, prompts) for ruling in asked),
        "all_tokens": sum(_tokens(ruling, prompts) for ruling in rulings),
    }


def _tokens(ruling: Ruling, prompts: PromptSet) -> float:
    counted = getattr(ruling.referee, "prompt_tokens", 0)
    case = ruling.case
    prompt = select_request(case.question, case.title, case.abstract, prompts).prompt
    return counted or round(len(prompt) / CHARACTERS_A_TOKEN)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
