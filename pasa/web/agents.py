"""The agents behind the page: one for each choice of engines, made when first asked for, few kept at once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pasa.assembly import Assembly, assemble, choose_config, choose_model
from pasa.config import ENGINES, Settings, engine_names, load_settings
from pasa.errors import ConfigError
from pasa.tool_assembly import BUILT_LIBRARY, ENGINE_KINDS, Choice, choose_engine

AGENTS_KEPT = 4  # assembled at once; one that no run uses makes room
LABELS = {
    "serper": "Google",
    "scholar": "Google Scholar",
    "arxiv": "arXiv",
    "openalex": "OpenAlex",
    "semantic_scholar": "Semantic Scholar",
    "library": "Library",
    "demo": "Demo library",
}


@dataclass(frozen=True, slots=True)
class EngineOffer:
    """An engine as the page shows it."""

    name: str
    label: str
    reason: str  # why it cannot be chosen; "" where it can
    usual: dict[str, Any]  # settings of a run that asks for nothing else


class Agents(Protocol):
    """What runs are made with."""

    usual_engine: str

    def offers(self) -> list[EngineOffer]:
        """The engines, those that can be chosen first."""
        ...

    def lease(self, engine: str) -> Any:
        """An async context that gives the Assembly of these engines. Raises UserErrors."""
        ...

    async def close(self) -> None:
        """Closes every assembly."""
        ...


class AgentPool:
    """Agents by engine; used from one event loop. Flags: settings by name, as load_settings takes them."""

    def __init__(self, config: Path | None, flags: dict[str, Any], note: Callable[[str], None]) -> None:
        """Chooses the usual engine, which may ask arXiv whether it answers. Raises ConfigError."""
        self._config = config
        self._flags = flags
        self._note = note
        self._given = load_settings(config, flags)
        self._usual = choose_engine(self._given.tools)
        self.usual_engine = self._usual.name
        self._made: dict[str, Assembly] = {}  # least recently used first
        self._in_use: Counter[str] = Counter()
        self._making = asyncio.Lock()

    def offers(self) -> list[EngineOffer]:
        names = [*self._usual.names, *(name for name in ENGINES[1:] if name not in self._usual.names)]
        offers = [self._offer(name) for name in names]
        return sorted(offers, key=lambda offer: bool(offer.reason))

    def _offer(self, name: str) -> EngineOffer:
        reason = self._why_not(name)
        usual = {} if reason else asdict(self._settings(Choice(name, "asked on the page"))[0].agent)
        return EngineOffer(name, LABELS[name], reason, usual)

    def _why_not(self, name: str) -> str:
        if name in self._usual.names:
            return ""
        key = ENGINE_KINDS[name].key
        if key and not os.environ.get(key, "").strip():
            return f"needs {key}"
        if name == "library" and not (self._given.tools.library or BUILT_LIBRARY.exists()):
            return "no library was built"
        if self._has_checkpoint():
            return "the checkpoint in memory serves the engine that the server was started with"
        return ""

    def _has_checkpoint(self) -> bool:
        """Whether a language model runs in this process: a second agent would load it once more."""
        models = self._given.models
        paths = choose_model(models.crawler_path, "crawler").name, choose_model(models.selector_path, "selector").name
        return any(path != "rules" and not path.startswith("openai:") for path in paths)

    def _settings(self, engine: Choice) -> tuple[Settings, Path]:
        """The settings and the configuration that an agent on these engines has."""
        flags = {**self._flags, "engine": engine.name}
        if "demo" in engine.names:
            flags["library"] = None
        config = self._config or choose_config(load_settings(None, flags), engine)
        return load_settings(config, flags), config

    @asynccontextmanager
    async def lease(self, engine: str) -> AsyncIterator[Assembly]:
        names = self._usual.names if engine == "auto" else engine_names(engine)
        name = self.usual_engine if set(names) == set(self._usual.names) else ",".join(sorted(names))
        self._in_use[name] += 1
        try:
            async with self._making:
                if name not in self._made:
                    await self._make_room()
                    self._made[name] = await asyncio.to_thread(self._assemble, name)
                self._made[name] = self._made.pop(name)
            yield self._made[name]
        finally:
            self._in_use[name] -= 1

    def _assemble(self, name: str) -> Assembly:
        refused = [reason for one in name.split(",") if (reason := self._why_not(one))]
        if refused:
            raise ConfigError(f"{name} cannot be searched here: {refused[0]}")
        choice = self._usual if name == self._usual.name else choose_engine(replace(self._given.tools, engine=name))
        settings, config = self._settings(choice)
        return assemble(settings, self._note, config, choice)

    async def _make_room(self) -> None:
        idle = [name for name in self._made if not self._in_use[name]]
        for name in idle[: max(0, len(self._made) + 1 - AGENTS_KEPT)]:
            assembly = self._made.pop(name)
            await asyncio.to_thread(assembly.close)

    async def close(self) -> None:
        while self._made:
            _, assembly = self._made.popitem()
            await asyncio.to_thread(assembly.close)
