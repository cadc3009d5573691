"""Supervised fine-tuning of Crawler and Selector on TRL's SFTTrainer.

    settings -> rows -> token ids -> trainer -> checkpoints, evaluations.jsonl, sft_run.json, README.md (the card)

One process or many: `accelerate launch` with a file of configs/accelerate/. Every process evaluates all rows, which
keeps processes that share one model's weights (ZeRO-3, FSDP) in step.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer
from trl.models.utils import unwrap_model_for_generation

from pasa.errors import CheckpointError, ConfigError
from pasa.models.hf_loading import first_line, is_adapter, load_tokenizer, resolve_checkpoint
from pasa.result_folder import only_writer
from pasa.results import append_line, check_writable, write_json, write_whole
from trl_ext.sft_arguments import attention_of, lora_config, training_arguments
from trl_ext.sft_card import commit_of, file_record, machine, model_card
from trl_ext.sft_data import EncodedRow, LikeLengthSampler, RowsRead, encode_rows, question_rows, read_rows
from trl_ext.sft_evaluation import numbers
from trl_ext.sft_evaluators import Evaluator, evaluator_of
from trl_ext.sft_loss import ReplyLoss, reply_columns, reply_loss
from trl_ext.sft_saving import finish_folder
from trl_ext.sft_settings import FREE_TO_CHANGE, SftSettings
from trl_ext.starting_models import load_start

RUN_FILE = "sft_run.json"
EVALUATIONS_FILE = "evaluations.jsonl"
CARD_FILE = "README.md"
STATE_FILE = "trainer_state.json"  # the last that the Trainer writes into a checkpoint
ROOT = Path(__file__).resolve().parents[1]
# Where TRL's fused head projects the tokens that count and no others.
FUSED_HEAD_DEVICES = ("cuda", "xpu")
# What the Trainer adds to an evaluation that says nothing of the model.
_OF_THE_MACHINE = {"runtime", "samples_per_second", "steps_per_second", "num_tokens"}


@dataclass(frozen=True)
class SftData:
    """What is learnt and what is held out, as rows and in tokens (objective likelihood: of the answers alone)."""

    tokenizer: PreTrainedTokenizerBase
    train: tuple[RowsRead, list[EncodedRow]]
    held_out: tuple[RowsRead, list[EncodedRow]] | None


class PasaSFTTrainer(SFTTrainer):
    """SFTTrainer with batches of like length, evaluation as the agent would use the model, and our model card."""

    def __init__(
        self, settings: SftSettings, evaluator: Evaluator | None, card: Callable[[], str], **others: Any
    ) -> None:
        self._settings = settings
        self._evaluator = evaluator
        self._card = card
        super().__init__(**others)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        rows: Any = self.train_dataset  # the argument has lost the columns that no model reads
        if not self._settings.length_grouping or "length" not in rows.column_names:  # packed rows have none
            return super()._get_train_sampler(train_dataset)
        together = self.args.train_batch_size * self.args.world_size
        return LikeLengthSampler(list(rows["length"]), together, self.args.seed)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """As SFTTrainer's; where that has no kernel, only the positions of replies are projected (sft_loss.py)."""
        if return_outputs or self.accelerator.device.type in FUSED_HEAD_DEVICES:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        columns = reply_columns(labels)
        rest = {name: value for name, value in inputs.items() if name != "labels"}
        result = reply_loss(model(**rest, use_cache=False, logits_to_keep=columns).logits, labels, columns)
        self._note(result, inputs)
        divisor = result.count if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        loss = result.loss / divisor.clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes afterwards
        return loss

    def _note(self, result: ReplyLoss, inputs: dict[str, Any]) -> None:
        """Keeps what SFTTrainer logs beside the loss: entropy, accuracy, tokens so far."""
        in_training = bool(self.model and self.model.training)
        read = inputs["attention_mask"].sum() if "attention_mask" in inputs else torch.tensor(inputs["labels"].numel())
        sums = torch.stack([result.entropy, result.right.float(), result.count.float(), read.float()])
        entropy, right, count, tokens = self.accelerator.gather(sums).view(-1, len(sums)).sum(0).tolist()
        kept = self._metrics["train" if in_training else "eval"]
        kept["entropy"].append(entropy / max(1, count))
        kept["mean_token_accuracy"].append(right / max(1, count))
        self._total_train_tokens += int(tokens) if in_training else 0
        kept["num_tokens"] = [self._total_train_tokens]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and what the evaluator measures, all as `eval_...`; evaluations.jsonl gets a line."""
        metrics: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        if self._evaluator is None:
            return metrics
        measured = self._measure()
        named = {f"{metric_key_prefix}_{name}": value for name, value in numbers(measured).items()}
        self.log(dict(named))
        metrics.update(named)
        if self.is_world_process_zero():
            loss = metrics.get(f"{metric_key_prefix}_loss")
            record = {"step": self.state.global_step, "loss": loss, **measured}
            append_line(Path(str(self.args.output_dir)) / EVALUATIONS_FILE, record)
        return metrics

    def _measure(self) -> dict[str, Any]:
        """What the evaluator says of the model as it is; the random streams of training are left as they were."""
        assert self._evaluator is not None
        assert self.model is not None
        was_training = self.model.training
        generator_state = torch.get_rng_state()
        with (
            unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model,
            self.compute_loss_context_manager(),
        ):
            model.eval()
            measured = self._evaluator(model)
        self.model.train(was_training)
        torch.set_rng_state(generator_state)
        return measured

    def create_model_card(self, *args: Any, **others: Any) -> None:
        """Writes the card beside the checkpoints."""
        if self.is_world_process_zero():
            write_whole(Path(str(self.args.output_dir)) / CARD_FILE, self._card())


def train(settings: SftSettings, command: str = "", tell: Callable[[str], None] = print) -> dict[str, float]:
    """Trains, keeps the best checkpoint in `output_dir` and gives its scores (with "train_loss").

    Raises ConfigError and CheckpointError before anything is trained where settings, data or model cannot be used, or
    another run writes into `output_dir`.
    """
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|torch")  # of their own calls
    args = training_arguments(settings)  # first: it sets the processes up, on CPUs too
    folder = Path(settings.output_dir)
    check_writable(folder)
    with only_writer(folder, "--output_dir") if args.process_index == 0 else nullcontext():
        return _train(settings, args, command, tell if args.process_index == 0 else _say_nothing)


def _train(settings: SftSettings, args: SFTConfig, command: str, tell: Callable[[str], None]) -> dict[str, float]:
    started = time.time()
    is_first = args.process_index == 0
    processes = check_processes(int(args.world_size))
    _check_earlier_run(settings, processes)
    data = _load_data(settings, tell)
    run = _run_record(settings, command, processes, data)
    trainer = _build_trainer(settings, args, data, run)
    if is_first:
        write_json(Path(settings.output_dir) / RUN_FILE, run)
    last = last_checkpoint(Path(settings.output_dir))
    if is_first and not last:
        write_whole(Path(settings.output_dir) / EVALUATIONS_FILE, "")  # a finished run's would be taken for this one's
    start = f"{len(data.train[0].rows)} rows, {processes} process(es), {_describe(args, trainer)}"
    tell(f"{start}, from {last}" if last else start)
    outcome = trainer.train(resume_from_checkpoint=str(last) if last else None)
    scores = {name.removeprefix("eval_"): value for name, value in _kept_scores(trainer).items()}
    run |= {"steps": trainer.state.global_step, "seconds": round(time.time() - started, 1), "scores": scores}
    trainer.save_model(settings.output_dir)
    trainer.create_model_card()
    if is_first:
        finish_folder(Path(settings.output_dir), settings, data.tokenizer, scores)
        write_json(Path(settings.output_dir) / RUN_FILE, run)
    scores = {**scores, "train_loss": outcome.training_loss}
    for name, value in scores.items():
        tell(f"{name:20} {value:.4f}")
    return scores


def _build_trainer(settings: SftSettings, args: SFTConfig, data: SftData, run: dict[str, Any]) -> PasaSFTTrainer:
    """The trainer; the cards it writes tell what `run` holds by then."""
    return PasaSFTTrainer(
        settings,
        evaluator_of(settings, data.held_out[0].rows, data.tokenizer) if data.held_out else None,
        lambda: model_card(settings, run, run.get("scores", {})),
        model=load_model(settings, args),
        args=args,
        train_dataset=dataset_of(data.train[1]),
        eval_dataset=dataset_of(data.held_out[1]) if data.held_out else None,
        processing_class=data.tokenizer,
        peft_config=lora_config(settings),
    )


def check_processes(training_together: int) -> int:
    """How many processes train together; raises ConfigError where a launcher started more that do not."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != training_together:
        raise ConfigError(
            f"{launched} processes were launched but each trains alone; on CPUs use a file of configs/accelerate, "
            "with DS_ACCELERATOR=cpu in the environment"
        )
    return training_together


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run: a process killed while it saved leaves one without state."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{STATE_FILE}")]
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[-1]), default=None)


def _check_earlier_run(settings: SftSettings, processes: int) -> None:
    """Raises ConfigError where `output_dir` holds checkpoints that this run cannot go on from."""
    folder = Path(settings.output_dir)
    if last_checkpoint(folder) is None:
        return
    if not settings.resume:
        raise ConfigError(f"{folder} holds checkpoints: name another output_dir, or leave resume on to go on from them")
    try:
        before = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{folder} holds checkpoints but no {RUN_FILE}: name another output_dir") from error
    now = fingerprint(settings, processes)
    changed = sorted(name for name in now if before.get(name) != now[name])
    if changed:
        raise ConfigError(
            f"{folder} holds checkpoints of a run with another {', '.join(changed)}: name another output_dir"
        )


def fingerprint(settings: SftSettings, processes: int) -> dict[str, Any]:
    """What must be the same for a run to go on where another stopped."""
    values = {name: value for name, value in dataclasses.asdict(settings).items() if name not in FREE_TO_CHANGE}
    rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * processes
    return {**values, "rows_per_step": rows}


def _load(
    path: Path,
    settings: SftSettings,
    tokenizer: PreTrainedTokenizerBase,
    limit: int | None,
    tell: Callable[[str], None],
) -> tuple[RowsRead, list[EncodedRow]]:
    read = read_rows(path, settings.task, settings.max_bad_share, limit)
    learnt = RowsRead(question_rows(read.rows)) if settings.objective == "likelihood" else read
    encoded = encode_rows(learnt, tokenizer, settings)
    for reason, count in sorted(read.dropped.items()):
        tell(f"{path.name}: {count} rows skipped: {reason}")
    for line in read.told:
        tell(f"  {line}")
    return read, encoded


def _tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(resolve_checkpoint(model))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        hint = "name a folder that holds a checkpoint (checkpoints/README.md)"
        raise CheckpointError(f"cannot load the tokenizer of {model} ({first_line(error)}): {hint}") from error


def _load_data(settings: SftSettings, tell: Callable[[str], None]) -> SftData:
    """Raises ConfigError and CheckpointError."""
    tokenizer = _tokenizer_of(settings.model_name_or_path)
    train_rows = _load(Path(settings.dataset_name), settings, tokenizer, settings.max_examples, tell)
    if settings.eval_dataset is None:
        return SftData(tokenizer, train_rows, None)
    held_out = _load(Path(settings.eval_dataset), settings, tokenizer, settings.eval_examples, tell)
    return SftData(tokenizer, train_rows, held_out)


def dataset_of(encoded: Sequence[EncodedRow]) -> Dataset:
    """The rows as SFTTrainer takes them, already in tokens."""
    return Dataset.from_dict(
        {
            "input_ids": [row.input_ids for row in encoded],
            "completion_mask": [row.completion_mask for row in encoded],
            "length": [len(row.input_ids) for row in encoded],
        }
    )


def load_model(settings: SftSettings, args: SFTConfig) -> PreTrainedModel:
    """The model to train: float32 weights, or bfloat16 ones under LoRA with bf16. Raises CheckpointError."""
    path = settings.model_name_or_path
    if settings.lora_rank and is_adapter(resolve_checkpoint(path)):
        raise CheckpointError(
            f"{path} is a LoRA, and SFT adds none to another: train all weights (lora_rank 0), or begin with its base"
        )
    half = bool(args.bf16) and settings.lora_rank > 0
    return load_start(path, torch.bfloat16 if half else torch.float32, attention_of(settings, bool(args.use_cpu)))


def _run_record(settings: SftSettings, command: str, processes: int, data: SftData) -> dict[str, Any]:
    """What sft_run.json holds before training."""
    files = {"train": (settings.dataset_name, data.train[0])}
    if data.held_out and settings.eval_dataset:
        files["eval"] = (settings.eval_dataset, data.held_out[0])
    records = {name: file_record(Path(path), len(read.rows), read.dropped) for name, (path, read) in files.items()}
    return {
        "command": command,
        "commit": commit_of(ROOT),
        "date": dt.date.today().isoformat(),
        "machine": machine(),
        "processes": processes,
        "fingerprint": fingerprint(settings, processes),
        "data": records,
    }


def _kept_scores(trainer: PasaSFTTrainer) -> dict[str, float]:
    """The evaluation of the checkpoint that is kept: the best one, else the last."""
    evaluated = [entry for entry in trainer.state.log_history if any(name.startswith("eval_") for name in entry)]
    best = trainer.state.best_global_step
    step = best if best is not None else max((entry["step"] for entry in evaluated), default=None)
    kept: dict[str, float] = {}
    for entry in evaluated:
        if entry["step"] == step:
            kept |= {name: value for name, value in entry.items() if name.startswith("eval_")}
    return {name: value for name, value in kept.items() if name.removeprefix("eval_") not in _OF_THE_MACHINE}


def _describe(args: SFTConfig, trainer: PasaSFTTrainer) -> str:
    model: Any = trainer.model
    # ds_numel: what a weight has in all where ZeRO-3 has spread it over the processes
    trained = sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters() if p.requires_grad)
    words = [f"{trained / 1e6:.1f}M weights trained", "bf16" if args.bf16 else "float32"]
    words += ["packed"] if args.packing else []
    words += ["activations checkpointed"] if args.gradient_checkpointing else []
    return ", ".join(words)


def _say_nothing(_: str) -> None:
    pass
