"""The public fork's way of a PPO step, written plainly; what ppo_step.py compares ours with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from benchmarks.scripted_sessions import Forced, Web, Writer, decoded
from pasa.models.hf_batches import pad_left
from pasa.paper import Paper, Section
from trl_ext.session_ppo.batch import batch_of, to_device
from trl_ext.session_ppo.evaluation import Evaluation, targets_of
from trl_ext.session_ppo.learner import PlainLearner
from trl_ext.session_ppo.losses import policy_loss, token_weights, value_loss
from trl_ext.session_ppo.policy import SessionPolicy
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.records import StepSessions
from trl_ext.session_ppo.rollouts import RolloutSettings
from trl_ext.session_ppo.settings import PpoSettings

BATCH = 4  # upstream's --local_rollout_forward_batch_size
LOSSES = ("policy_loss", "value_loss", "kl_step")
ALONE = SingleProcess()


class EndsRollout(Protocol):
    def end_rollout(self) -> None: ...


class Naive:
    """The fork's pattern, written plainly."""

    def __init__(
        self,
        policy: SessionPolicy,
        learner: PlainLearner,
        writer: Writer,
        script: StepSessions,
        web: Web,
        settings: PpoSettings,
    ) -> None:
        self._policy, self._learner, self._writer, self._script = policy, learner, writer, script
        self._web, self._settings = web, settings
        self._papers: dict[str, Paper] = {}  # met so far, by title
        self._pages: dict[str, dict[str, Section]] = {}
        self._device = writer.model.device
        batch = batch_of(script, lambda ids: decoded(writer, ids), writer._pad_id)
        self.batch = to_device(batch, self._device)
        prompts = [list(session.prompt_ids) for session in script.sessions]
        ids, mask, _ = pad_left(prompts, writer._pad_id, self._device)
        self._prompt = ids.shape[1]  # every row's reply begins at this column
        self._ids = torch.cat([ids, self.batch.reply_ids], 1)
        self._mask = torch.cat([mask, self.batch.reply_mask.long()], 1)

    def step(self, meter: EndsRollout) -> tuple[StepSessions, dict[str, float]]:
        """Writes and searches layer by layer, evaluates, learns."""
        self._policy.eval()
        logits = []
        for layer in sorted({session.layer for session in self._script.sessions}):
            sessions = [session for session in self._script.sessions if session.layer == layer]
            for at in range(0, len(sessions), BATCH):
                logits += self._write(sessions[at : at + BATCH])
            for session in sessions:
                self._act(session)
        self._policy.train()
        kept = pad_sequence(logits, batch_first=True)
        del logits
        before, found = self._evaluate(kept), self._start_values()
        del kept
        meter.end_rollout()
        return self._script, self._learn(before, found)

    @torch.no_grad()
    def _write(self, sessions: Sequence[Any]) -> list[torch.Tensor]:
        """Each session's logits [R, V]; every row goes on to the longest reply."""
        pad_id = self._writer._pad_id
        ids, mask, _ = pad_left([list(s.prompt_ids) for s in sessions], pad_id, self._writer.model.device)
        longest = max(len(s.reply_ids) for s in sessions)
        config = GenerationConfig(
            max_new_tokens=longest, min_new_tokens=longest, pad_token_id=pad_id, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        forced = Forced([s.reply_ids for s in sessions], ids.shape[1], pad_id)
        output = self._writer.model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=[forced]
        )
        return list(torch.stack(output.logits, 1))

    def _act(self, session: Any) -> None:
        """One call after the other."""
        for action in session.actions:
            argument = session.reply[action.start : action.end].partition("]")[2].strip()
            if action.kind == "search":
                hits = self._web.search(argument, RolloutSettings().search_papers)
                self._meet([hit.paper for hit in hits])
            elif action.kind == "expand":
                for cited in self._page(session.prompt_ids)[argument].references:
                    if cited.title not in self._papers:
                        self._meet(self._web.papers_by_reference([cited]))

    def _meet(self, papers: Sequence[Paper | None]) -> None:
        self._papers |= {paper.title: paper for paper in papers if paper is not None}

    def _page(self, prompt_ids: Sequence[int]) -> dict[str, Section]:
        """The sections, by name, of the paper that the prompt is about; a page is asked for once."""
        title = self._writer.titles[tuple(prompt_ids)]
        if title not in self._pages:
            sections = self._web.sections(self._papers[title]) or ()
            self._pages[title] = {section.name: section for section in sections}
        return self._pages[title]

    @torch.no_grad()
    def _evaluate(self, logits: torch.Tensor) -> Evaluation:
        """From kept logits [S, R, V]; reference and value of whole rows, all padded to the longest."""
        batch, policy = self.batch, self._policy
        log_probs, entropy, reference, values = [], [], [], []
        for rows in self._rows(BATCH):
            some = logits[rows].log_softmax(-1)  # [4, R, V]
            log_probs.append(some.gather(2, batch.reply_ids[rows, :, None]).squeeze(2))
            entropy.append(-(some.exp() * some).sum(-1))
            reference.append(self._of_reply(self._read(policy.reference, rows).logits.log_softmax(-1), rows))
            values.append(self._values(rows))
        mask = ~batch.reply_mask
        said = (torch.cat(parts).masked_fill(mask, 0.0) for parts in (log_probs, entropy, reference, values))
        return Evaluation(*said, too_large=torch.zeros_like(batch.is_session))

    def _rows(self, size: int) -> Sequence[torch.Tensor]:
        return torch.arange(len(self.batch.input_ids), device=self._device).split(size)

    def _read(self, model: Any, rows: torch.Tensor) -> Any:
        """What a model says of whole rows; positions count from a prompt's first token."""
        mask = self._mask[rows]
        return model(self._ids[rows], attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))

    def _of_reply(self, log_probs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """[B, R]: the replies' tokens out of [B, L, V]."""
        return log_probs[:, self._prompt - 1 : -1].gather(2, self.batch.reply_ids[rows, :, None]).squeeze(2)

    def _values(self, rows: torch.Tensor) -> torch.Tensor:
        states = self._read(self._policy.value_body, rows).last_hidden_state
        return self._policy.value_head(states).squeeze(-1)[:, self._prompt - 1 : -1]

    @torch.no_grad()
    def _start_values(self) -> torch.Tensor:
        """Each prompt padded to the longest of all."""
        longest = max((len(start.prompt_ids) for start in self._script.starts), default=0)
        values = []
        for start in self._script.starts:
            self._page(start.prompt_ids)  # its section names stand in the prompt
            ids = torch.tensor([[*start.prompt_ids, *[0] * (longest - len(start.prompt_ids))]], device=self._device)
            mask = (torch.arange(longest, device=self._device) < len(start.prompt_ids)).long()[None]
            states = self._policy.value_body(ids, attention_mask=mask).last_hidden_state
            values.append(self._policy.value_head(states[0, len(start.prompt_ids) - 1]))
        return torch.cat(values) if values else torch.zeros(0, device=self._device)

    def _learn(self, before: Evaluation, found: torch.Tensor) -> dict[str, float]:
        """Two epochs, a session at a time, with its whole logits."""
        chosen, batch = self._settings, self.batch
        targets = targets_of(batch, before, found, chosen, chosen.kl_coefficient, ALONE)
        weights = token_weights(batch.reply_mask, chosen.normalization, ALONE)
        sums = torch.zeros(chosen.epochs, len(LOSSES), device=self._device)
        for epoch in range(chosen.epochs):
            for rows in self._rows(1):
                log_probs = self._read(self._policy.language_model, rows).logits.log_softmax(-1)  # [1, L, V]
                said = log_probs.detach()
                -(said.exp() * said).sum(-1)  # the entropy that is logged
                p = policy_loss(
                    self._of_reply(log_probs, rows), before.log_probs[rows], targets.advantages[rows], weights[rows],
                    chosen.clip_range,
                )  # fmt: skip
                v = value_loss(
                    self._values(rows), before.values[rows], targets.returns[rows], weights[rows],
                    chosen.value_clip_range,
                )  # fmt: skip
                self._learner.backward(p.loss + chosen.value_weight * v.loss, last=False)
                sums[epoch] += torch.stack([p.loss, v.loss, p.kl]).detach()
            self._learner.step()
        return dict(zip(LOSSES, sums.mean(0).tolist(), strict=True))
