"""scripts/train_embedder.py end to end on a toy library, and its checkpoint in all that reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pasa.assembly import build_scorer
from pasa.config import ModelSettings, Settings, ToolSettings
from pasa.errors import CheckpointError, ConfigError
from pasa.library import build_library
from pasa.models.encoders import MINILM, find_minilm, load_encoder
from pasa.models.rules_weights import WEIGHTS_FILE
from pasa.prompts import select_request
from scripts import calibrate_rules, train_embedder
from tests.library_rows import write_rows
from trl_ext.embedder_settings import EmbedderSettings, read_embedder_settings

LETTERS = "abcdefghijkl"
TRAINING = "{batch_size: 4, max_steps: 2, learning_rate: 0.001, max_tokens: 16, bf16: false}"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    rows: list[dict[str, object]] = [
        {
            "title": f"Citing networks {letter}",
            "abstract": "Networks.",
            "sections": {"Related Work Graph networks": [f"Cited {letter}{other}" for other in "xyz"]},
        }
        for letter in LETTERS
    ]
    rows += [{"title": f"Cited {one}{two}", "abstract": "About graphs."} for one in LETTERS for two in "xyz"]
    build_library([write_rows(folder / "rows.jsonl", rows)], folder / "L")
    return folder / "L"


@pytest.fixture(scope="module")
def trained(library: Path) -> Path:
    config = library.parent / "embedder.yaml"
    config.write_text(f"training: {TRAINING}\ncheckpoint: {{rank: 4}}\n")
    out = library.parent / "trained"
    assert train_embedder.main(["--library", str(library), "--config", str(config), "--out", str(out)]) == 0
    return out


def test_what_is_written_is_small_tells_what_it_is_and_names_no_place(trained: Path) -> None:
    record = json.loads((trained / "training.json").read_text())
    assert record["settings"]["training"]["batch_size"] == 4
    assert record["data"]["pairs"] > 8
    assert record["data"]["citing_papers"] + record["data"]["citing_papers_held_out"] == len(LETTERS)
    card = (trained / "README.md").read_text()
    assert "--encoder trained" in card
    assert str(trained.parent) not in card + json.dumps(record)
    assert sum(file.stat().st_size for file in trained.iterdir()) < 2e6


def test_the_trained_encoder_reads_otherwise_than_the_packaged_one(trained: Path) -> None:
    texts = ["Graph networks.", "Bandits without regret."]
    encoder = load_encoder(str(trained))
    vectors = encoder.encode_papers(texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.einsum("nd,nd->n", vectors, load_encoder().encode_papers(texts)).max() < 0.9999
    assert np.array_equal(vectors, load_encoder(str(trained)).encode_papers(texts))


def test_vectors_of_two_encoders_are_never_kept_in_one_file(trained: Path) -> None:
    plain, tuned = find_minilm(MINILM), find_minilm(str(trained))
    assert plain is not None
    assert tuned is not None
    assert plain.store_name != tuned.store_name


def test_the_rules_selector_reads_with_the_encoder_asked_for(trained: Path) -> None:
    (trained / WEIGHTS_FILE.name).write_bytes(WEIGHTS_FILE.read_bytes())  # as a calibration would
    request = select_request("Which works study graph networks?", "Graph networks", "Networks of graphs.")
    scores = []
    for encoder in (MINILM, str(trained)):
        settings = Settings(models=ModelSettings(encoder=encoder), tools=ToolSettings(cache_dir=""))
        scores += build_scorer("rules", settings, None).score([request])
    assert scores[0] != scores[1]


def test_an_encoder_that_is_not_here_is_an_error_in_a_line() -> None:
    with pytest.raises(CheckpointError, match="train_embedder"):
        build_scorer("rules", Settings(models=ModelSettings(encoder="no-such")), None)


def test_the_calibration_of_a_trained_encoder_leaves_out_what_it_was_trained_on(trained: Path, library: Path) -> None:
    from pasa.library import Library

    tuned, plain = find_minilm(str(trained)), find_minilm(MINILM)
    assert tuned is not None
    assert plain is not None
    with Library.open(library) as opened:
        topics = calibrate_rules.topics_of(opened)
    unseen = calibrate_rules.unseen_topics(topics, tuned)
    held_out = json.loads((trained / "training.json").read_text())["data"]["citing_papers_held_out"]
    assert len(calibrate_rules.unseen_topics(topics, plain)) == len(topics) == len(LETTERS)
    assert len(unseen) == held_out < len(topics)


def test_a_library_without_full_texts_is_an_error_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_library([write_rows(tmp_path / "rows.jsonl", [{"title": "Lonely"}])], tmp_path / "L")
    assert train_embedder.main(["--library", str(tmp_path / "L"), "--out", str(tmp_path / "out")]) == 2
    assert "add full texts" in capsys.readouterr().err


def test_the_committed_config_says_the_defaults_and_a_wrong_one_says_where(tmp_path: Path) -> None:
    assert read_embedder_settings(train_embedder.CONFIG) == EmbedderSettings()
    (tmp_path / "c.yaml").write_text("training: {batchsize: 3}")
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        read_embedder_settings(tmp_path / "c.yaml")
