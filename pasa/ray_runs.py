"""An input file's queries spread over a Ray cluster: `run_paper_agent.py --input_file Q --output_folder D --ray`.

This process hands out queries and alone writes result files; a worker is a Ray actor with an agent of its own. So no
file has two writers, the output folder need not be shared, and what a lost machine still does reaches no file. Every
machine needs the packages of requirements.txt and requirements-ray.txt, and libraries and checkpoints under the same
paths; this project's code and settings are sent along. Keys travel as an argument of a call to the worker, which Ray
writes into no log, and not as Ray's runtime environment, which it does.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pasa import tool_assembly
from pasa.assembly import Assembly, assemble, choose_model
from pasa.cluster_runs import ClusterRun, Ended, Heard, Lost, Opened, Refused
from pasa.config import Settings
from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.file_runs import Output, deliver, progress_of, queue_of
from pasa.library.ray_build import connect
from pasa.query_runs import Failed, Form, Job, Outcome, run_query
from pasa.tools.served_library import is_address

# What workers need of this process's environment: keys, and the server that they are for.
SENT_VARIABLES = (
    tool_assembly.SERPER_KEY,
    tool_assembly.SERVED_LIBRARY_KEY,
    tool_assembly.OPENALEX_KEY,
    *tool_assembly.SEMANTIC_SCHOLAR_KEYS,
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HF_TOKEN",
)


_NODE_ID_SHOWN = 8  # characters


@dataclass(frozen=True)
class Order:
    """What a worker is told to be; `keys` are shown nowhere."""

    settings: Settings
    config: Path | None
    engine: tool_assembly.Choice
    form: Form
    keys: Mapping[str, str] = field(repr=False)


def run_on_ray(
    address: str | None,
    workers: int | None,
    todo: Sequence[Job],
    output: Output,
    settings: Settings,
    config: Path | None,
    engine: tool_assembly.Choice,
) -> int:
    """Runs the queries on the cluster at `address`, and writes and shows what comes; the exit code.

    Without an address: the cluster that RAY_ADDRESS or Ray's own files name, else one on this machine. `workers` None:
    one for each GPU where a model runs on the workers and the cluster has any, else one for each machine. Raises
    UserErrors, also where Ray is not installed or does not answer, and PasaError where no worker is left.
    """
    at_once = settings.models.queries_at_once or 1
    _check_engine(engine)
    stdout, form, progress = sys.stdout, output.asked(), progress_of(todo, output)
    with _silent_stdout(), connected(address) as ray:
        machines = machines_of(ray.nodes())
        share = share_of(machines, workers, has_local_model(settings))
        hosts = len({machine.name for machine in machines})
        order = Order(for_elsewhere(settings, engine, hosts), config, engine, form, _keys())
        if not output.quiet:
            note(f"Ray: workers: {share.workers}; of each, cores: {share.cores}, queries at once: {at_once}")
        with progress:
            queries = queue_of(todo, output, share.workers * at_once)
            cluster = RayCluster(ray, order, share, at_once)
            run = ClusterRun(cluster, queries, share.workers, at_once, progress, note)
            code = deliver(run.outcomes(), todo, output, progress, stdout)
        if not output.quiet:
            note(f"nodes of the Ray cluster that ran queries: {len(run.machines)}")
        return code


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The ray module, connected to the cluster while in the context; errors as `connect`."""
    ray = connect(address)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """Ray prints to stdout what becomes of its nodes, which would stand among results."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


# -- what workers are told ---------------------------------------------------------------------------------------------


def _check_engine(engine: tool_assembly.Choice) -> None:
    if "demo" in engine.names:
        raise ConfigError("the demo library is this machine's alone: with --ray give --library, or another --engine")


def _keys() -> dict[str, str]:
    return {name: os.environ[name] for name in SENT_VARIABLES if os.environ.get(name, "").strip()}


def has_local_model(settings: Settings) -> bool:
    """Whether a language model runs in the workers themselves."""
    models = settings.models
    paths = choose_model(models.crawler_path, "crawler").name, choose_model(models.selector_path, "selector").name
    return any(path != "rules" and not path.startswith("openai:") for path in paths)


def for_elsewhere(settings: Settings, engine: tool_assembly.Choice, hosts: int) -> Settings:
    """The settings as they mean the same on other machines, `hosts` of them.

    Paths are absolute, what is chosen by what lies here is chosen, and the distance between two requests to a service,
    which processes of one machine keep together, is so much longer on each that all keep it together.
    """
    models, tools = settings.models, settings.tools
    library = tools.library
    is_live = any(tool_assembly.ENGINE_KINDS[name].is_live for name in engine.names)
    if not library and ("library" in engine.names or (is_live and tool_assembly.BUILT_LIBRARY.exists())):
        library = str(tool_assembly.BUILT_LIBRARY)
    return replace(
        settings,
        models=replace(
            models,
            crawler_path=_absolute(choose_model(models.crawler_path, "crawler").name),
            selector_path=_absolute(choose_model(models.selector_path, "selector").name),
            encoder=_absolute(models.encoder),
            second_selector_path=_absolute(models.second_selector_path) if models.second_selector_path else None,
            title_repair_path=_absolute(models.title_repair_path) if models.title_repair_path else None,
        ),
        tools=replace(
            tools,
            library=library if library is None or is_address(library) else str(Path(library).absolute()),
            cache_dir=_absolute(tools.cache_dir) if tools.cache_dir else tools.cache_dir,
            arxiv_delay_seconds=tools.arxiv_delay_seconds * hosts,
            page_delay_seconds=tools.page_delay_seconds * hosts,
            semantic_scholar_delay_seconds=tools.semantic_scholar_delay_seconds * hosts,
        ),
    )


def _absolute(path: str) -> str:
    """The path of something that is here, absolute; any other text as it is: a model's name, `rules`, `auto`."""
    return str(Path(path).absolute()) if Path(path).exists() else path


# -- how the cluster is shared out -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of a cluster."""

    name: str
    cores: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Share:
    """How many workers there are, and what each has to itself."""

    workers: int
    cores: int
    gpus: int


def machines_of(nodes: Sequence[Mapping[str, Any]]) -> list[Machine]:
    """The machines that are alive and have cores, as `ray.nodes()` tells of them."""
    return [
        Machine(
            str(node.get("NodeManagerHostname", "")),
            int(node["Resources"]["CPU"]),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in nodes
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]


def share_of(machines: Sequence[Machine], workers: int | None, has_local_model: bool) -> Share:
    """`workers` with as many cores each as fit; by default one for each GPU that a local model can use, else for each
    machine. Raises ConfigError where they do not fit."""
    cores = [machine.cores for machine in machines]
    gpus = [machine.gpus for machine in machines]
    if sum(cores) < (workers or 1):
        raise ConfigError(f"the cluster has {sum(cores)} cores, too few for {workers or 1} workers: see --ray_workers")
    use_gpus = has_local_model and sum(gpus) >= (workers or 1)
    if workers is None:
        each = gpus if use_gpus else [1] * len(machines)
        return Share(sum(each), min(max(1, c // n) for c, n in zip(cores, each, strict=True) if n), int(use_gpus))
    fits = (c for c in range(max(cores), 0, -1) if sum(n // c for n in cores) >= workers)
    return Share(workers, next(fits), int(use_gpus))


# -- workers -----------------------------------------------------------------------------------------------------------


class Worker:
    """An agent on a machine of the cluster. A Ray actor: its methods are called from other machines."""

    def __init__(self) -> None:
        self._parts = ExitStack()
        self._order: Order | None = None
        self._assembly: Assembly | None = None

    def open(self, order: Order) -> tuple[str, PasaError | None]:
        """Makes the agent; the machine's name and Ray's for it, and why there is no agent."""
        import ray

        os.environ.update(order.keys)
        machine = f"{platform.node()} (node {ray.get_runtime_context().get_node_id()[:_NODE_ID_SHOWN]})"
        try:
            self._assembly = self._parts.enter_context(assemble(order.settings, None, order.config, order.engine))
        except PasaError as error:
            return machine, error
        self._order = order
        return machine, None

    def run(self, job: Job) -> Outcome:
        """What came of a query; several run side by side."""
        assert self._assembly is not None
        assert self._order is not None
        try:
            return run_query(self._assembly.agent, job, self._order.form, self._assembly.record)
        except PasaError as error:
            return Failed(*job, error)


class RayCluster:
    """Workers as Ray actors. Ray itself restarts none and repeats no call: what runs again is decided in one place."""

    def __init__(self, ray: Any, order: Order, share: Share, at_once: int) -> None:
        self._ray = ray
        self._order = order
        self._actor = ray.remote(Worker).options(
            num_cpus=share.cores,
            num_gpus=share.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=at_once,
            scheduling_strategy="SPREAD",
        )
        self._handles: list[Any] = []
        self._pending: dict[Any, tuple[int, Job | None]] = {}  # reference -> worker, and the query or None for opening

    def start(self) -> int:
        handle, worker = self._actor.remote(), len(self._handles)
        self._handles.append(handle)
        self._pending[handle.open.remote(self._order)] = (worker, None)
        return worker

    def give(self, worker: int, job: Job) -> None:
        self._pending[self._handles[worker].run.remote(job)] = (worker, job)

    def hear(self, seconds: float) -> list[Heard]:
        if not self._pending:  # Ray waits for nothing only where there is something
            time.sleep(seconds)
            return []
        first, rest = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        more = self._ray.wait(rest, num_returns=len(rest), timeout=0)[0] if first and rest else []
        return [self._read(reference) for reference in (*first, *more)]

    def stop(self, worker: int) -> None:
        self._pending = {ref: who for ref, who in self._pending.items() if who[0] != worker}
        self._ray.kill(self._handles[worker])

    def _read(self, reference: Any) -> Heard:
        worker, job = self._pending.pop(reference)
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(reference)
        except errors.RayTaskError as error:  # a mistake in the program, not a worker lost
            if job is None:
                return Refused(worker, "the cluster", PasaError(_reason(error)))
            return Ended(worker, Failed(*job, error))
        except errors.RayError as error:
            return Lost(worker, _reason(error))
        if job is not None:
            return Ended(worker, answer)
        machine, refusal = answer
        return Refused(worker, machine, _elsewhere(refusal, machine)) if refusal else Opened(worker, machine)


def _elsewhere(error: PasaError, machine: str) -> PasaError:
    """The same error, saying where it arose."""
    return type(error)(f"{error} (on {machine}; with --ray every machine needs the same files under the same paths)")


def _reason(error: Exception) -> str:
    """Why, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
