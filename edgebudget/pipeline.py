"""Models x devices x runtimes x dtypes to a report: each model traced once, each layout made once."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context

from edgebudget import __version__
from edgebudget.calibration.store import Calibrations
from edgebudget.dtypes import DTYPES
from edgebudget.errors import EdgeBudgetError, ModelError, UsageError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import TracedGraph
from edgebudget.inputs import InputSpec
from edgebudget.profiles import resolve_devices
from edgebudget.profiles.folders import Folder
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.report import OptionKey, Report, ReportError, key_of, to_draw, worst_decision
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout
from edgebudget.target import Target
from edgebudget.verdict import CheckResult, Decision, check, describe_inputs, leading_dimension

_LOG = logging.getLogger(__name__)

DEFAULT_DTYPES = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Request:
    """What to hold every model against. `runtimes` empty means each device's default runtime; `inputs` empty, the
    shapes that the model's source knows; `batch` and `image_size` (height, width) None, those of these shapes."""

    devices: tuple[DeviceProfile, ...]
    dtypes: tuple[str, ...] = DEFAULT_DTYPES
    runtimes: tuple[str, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    batch: int | None = None
    image_size: tuple[int, int] | None = None
    calibrations: Calibrations | None = None
    headroom_percent: float = 0.0


@dataclass(frozen=True)
class Checked:
    """The verdicts on one model, and the layouts behind those that have one."""

    results: tuple[CheckResult, ...]
    layouts: Mapping[OptionKey, MemoryLayout]


Outcome = Checked | ReportError


def run(
    models: Sequence[str],
    request: Request,
    *,
    jobs: int = 1,
    on_done: Callable[[str], None] = lambda pair: None,
) -> Report:
    """Return the report on every model, device, runtime and dtype asked for, in the order they were asked for.

    A model that cannot be estimated becomes an entry of the report's `errors`; the others are still reported. `jobs`
    models are worked on at a time, each job in a process of its own. `on_done` hears of each model on each device as it
    is finished, and of those of a model that fails together.
    Raises UsageError for a request that names nothing, or what is not registered.
    """
    models = tuple(dict.fromkeys(models))
    validate(models, request)
    results: tuple[CheckResult, ...] = ()
    errors: tuple[ReportError, ...] = ()
    drawable: list[CheckResult] = []
    layouts: dict[OptionKey, MemoryLayout] = {}
    for outcome in _outcomes(models, request, jobs, on_done):
        if isinstance(outcome, ReportError):
            errors += (outcome,)
        else:
            results += outcome.results
            # The layouts of the others are let go at once: a hundred models' would fill the memory. What is not drawn
            # is not drawn either once more models are there, so those options are not looked at again.
            drawable += outcome.results
            drawn = set(to_draw(drawable))
            drawable = [option for option in drawable if key_of(option) in drawn]
            layouts = {key: found for key, found in {**layouts, **outcome.layouts}.items() if key in drawn}
    return Report(
        tool_version=__version__,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        decision=worst_decision(results, errors),
        results=results,
        errors=errors,
        layouts=layouts,
        profiles={device.name: device for device in request.devices},
    )


def resolve_asked(patterns: Sequence[str], folders: Sequence[Folder] | None = None) -> tuple[DeviceProfile, ...]:
    """Return the profiles that `patterns` stand for, each once; one asked for by an alias goes by that alias, so that
    a report names what was asked for. Takes `folders` and raises as `resolve_devices` does."""
    asked: dict[str, DeviceProfile] = {}
    for pattern in patterns:
        for profile in resolve_devices([pattern], folders):
            name = pattern if pattern in profile.aliases else profile.name
            asked.setdefault(name, replace(profile, name=name))
    return tuple(asked.values())


def check_model(model: str, request: Request, on_device: Callable[[str], None] = lambda device: None) -> Outcome:
    """Return the verdicts on `model`, or why it could not be estimated; `on_device` hears of each device when done."""
    # Building and tracing are what needs torch, which takes seconds to import: not before a model is asked for.
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    try:
        loaded = load_model(model, request.inputs, request.batch, request.image_size)
        graph = trace(
            loaded.module, loaded.args, loaded.kwargs, name=loaded.name, allow_truncation=loaded.allow_truncation
        )
        return check_graph(model, graph, replace(request, batch=request.batch or loaded.batch), on_device)
    except EdgeBudgetError as error:
        _LOG.debug("%s", model, exc_info=True)
        return ReportError(model, None, error.message, error.hint)
    except (Exception, SystemExit) as error:
        # A model is anybody's code, and one that breaks in a way nobody foresaw must not take the others with it.
        _LOG.debug("%s", model, exc_info=True)
        message = f"{model}: unexpected {type(error).__name__}{f': {error}' if str(error) else ''}."
        return ReportError(model, None, message, "Run with --debug for the traceback.")


def check_graph(
    model: str, graph: TracedGraph, request: Request, on_device: Callable[[str], None] = lambda device: None
) -> Checked:
    """Return the verdicts on a traced model, reported as `model`: by device, then runtime, then dtype."""
    estimates: dict[tuple[str, str, Target], MemoryEstimate] = {}

    def estimate_once(runtime: str, dtype: str, target: Target) -> MemoryEstimate:
        key = (runtime, dtype, target)
        if key not in estimates:
            estimates[key] = estimate(graph, dtype=dtype, runtime=runtime, target=target)
        return estimates[key]

    def option(device: DeviceProfile, runtime: str, dtype: str) -> CheckResult:
        try:
            return check(
                estimate_once(runtime, dtype, device.target),
                device,
                calibrations=request.calibrations,
                headroom_percent=request.headroom_percent,
                model=model,
                batch=request.batch,
            )
        except EdgeBudgetError as error:
            _LOG.debug("%s on %s in %s as %s", model, device.name, runtime, dtype, exc_info=True)
            return CheckResult(
                model=model,
                device=device.name,
                runtime=runtime,
                dtype=dtype,
                batch=leading_dimension(graph) if request.batch is None else request.batch,
                inputs=describe_inputs(graph),
                decision=Decision.ERROR,
                reasons=(str(error),),
                recommended=False,
            )

    def layout(device: DeviceProfile, result: CheckResult) -> MemoryLayout | None:
        if result.raw_peak_bytes is None:  # refused, or the device cannot compute in that type
            return None
        found = estimates[result.runtime, result.dtype, device.target].layout
        return found if isinstance(found, MemoryLayout) else None

    results: list[CheckResult] = []
    layouts: dict[OptionKey, MemoryLayout] = {}
    for device in request.devices:
        runtimes = request.runtimes or (device.default_runtime,)
        options = recommend([option(device, r, d) for r in runtimes for d in request.dtypes], request.dtypes)
        results += options
        layouts |= {key_of(o): found for o in options if (found := layout(device, o)) is not None}
        on_device(device.name)
    return Checked(tuple(results), layouts)


def recommend(options: Sequence[CheckResult], dtypes: Sequence[str]) -> list[CheckResult]:
    """Return the `options` of one (model, device) pair with the one to take marked: the first GO in the order of
    `dtypes`, and within a dtype in the order of `options`."""
    going = [option for option in options if option.decision is Decision.GO]
    chosen = min(going, key=lambda option: dtypes.index(option.dtype), default=None)
    return [_marked(option, option is chosen) for option in options]


def _marked(option: CheckResult, recommended: bool) -> CheckResult:
    return option if option.recommended == recommended else replace(option, recommended=recommended)


def validate(models: Sequence[str], request: Request) -> None:
    """Raise UsageError for a request that names nothing, UnknownNameError for a dtype or runtime there is not."""
    if not models:
        raise UsageError("No model was named.", "Name at least one, for example mobilenet_v2.")
    if not request.devices:
        raise UsageError("No device was named.", "Name at least one, for example --device raspberrypi.")
    if not request.dtypes:
        raise UsageError("No dtype was named.", "Name at least one, for example --dtype float32.")
    for dtype in request.dtypes:
        DTYPES.get(dtype)
    for runtime in request.runtimes or [device.default_runtime for device in request.devices]:
        RUNTIMES.get(runtime)


def _outcomes(models: Sequence[str], request: Request, jobs: int, on_done: Callable[[str], None]) -> Iterator[Outcome]:
    if jobs == 1 or len(models) == 1:
        yield from (_checked(model, request, on_done) for model in models)
        return
    # spawn, not fork: torch starts threads, and a forked copy of them deadlocks
    try:
        with ProcessPoolExecutor(min(jobs, len(models)), get_context("spawn"), _quiet_worker) as pool:
            for model, outcome in zip(models, pool.map(check_model, models, [request] * len(models)), strict=True):
                for device in request.devices:
                    on_done(f"{model} on {device.name}")
                yield outcome
    except BrokenProcessPool:
        raise ModelError("A job ended without an answer, as one does that is out of memory.", "Use --jobs 1.") from None


def _checked(model: str, request: Request, on_done: Callable[[str], None]) -> Outcome:
    left = [device.name for device in request.devices]

    def done(device: str) -> None:
        left.remove(device)
        on_done(f"{model} on {device}")

    outcome = check_model(model, request, done)
    for device in tuple(left):  # of a model that could not be estimated
        done(device)
    return outcome


def _quiet_worker() -> None:
    """Keep what a model prints off stdout, which is for results."""
    sys.stdout = sys.stderr
