"""A run of the user's own: their script trains, ncdiag measures, stores and forecasts it like one of its own.

    with ncdiag.track("my-net", arch="convnet", dataset="flowers", lr=1e-3) as run:
        for epoch in range(200):
            train_one_epoch(model)
            run.measure(model, "fc", train_loader, loss="ce")

While the block lasts the run is `running`, and this process holds it as a training process of ncdiag would: nobody else
writes to it, an epoch that was logged is on the disk, and a kill leaves a run that is `lost` and can be resumed.
"""

import hashlib
import logging
import math
import os
import platform
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex, get_args

import ncdiag
from ncdiag.domain.importing.phases import loss_name
from ncdiag.domain.records import (
    EPOCH_COLUMNS,
    LARGEST,
    LAST_PHASE,
    EpochRecord,
    Plain,
    Run,
    RunStatus,
    check_described,
    range_of,
)
from ncdiag.domain.spec import Loss
from ncdiag.domain.words import nearest
from ncdiag.errors import NCDiagError, SpecError, StoreError, UnknownRunError, UnsafeError
from ncdiag.execution.heartbeat import beating
from ncdiag.store import runs
from ncdiag.store.engine import open_store
from ncdiag.store.epochs import list_epochs
from ncdiag.store.handle import Store
from ncdiag.store.leases import hold_lease, new_owner, taken_over
from ncdiag.store.location import default_location, store_option
from ncdiag.store.recorder import Recorder
from ncdiag.store.tracked import SOURCE, add_tracked_run
from ncdiag.store.waiting import OUTAGE_SECONDS, Patience, hurry

if TYPE_CHECKING:
    from torch import nn

    from ncdiag.training.hooked import Pairs

_log = logging.getLogger("ncdiag")
_ONE_OF_SEVERAL = "\nOf several processes that train one model, only one tracks it"


class TrackedRun:
    """A run that is being told of: `measure` or `log` it after every epoch, or every few."""

    def __init__(self, run: Run, recorder: Recorder, stored: Sequence[EpochRecord], after: int | None = None) -> None:
        self._run = run
        self._recorder = recorder
        self._last = stored[-1] if stored else None
        self._epoch = after or (self._last.epoch if self._last else 0)
        self._loss = next((record.loss for record in reversed(stored) if record.loss), None)  # the last that was said
        self._since = time.perf_counter()
        self._over = False  # the block has ended
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """What the run is called: `ncdiag predict NAME`."""
        return self._run.name

    @property
    def epoch(self) -> int:
        """The last epoch that was logged, or that after which the run was resumed; 0 before the first."""
        return self._epoch

    def measure(
        self,
        model: "nn.Module",
        head: "nn.Linear | str",
        batches: "Pairs",
        *,
        loss: str | None = None,
        test: "Pairs | None" = None,
        epoch: int | None = None,
        **values: float | None,
    ) -> EpochRecord:
        """Measure a torch model on its training set, log all metrics, and give them.

        Model, head, batches, loss and test set are those of `ncdiag.measure`; `epoch` and `values`, such as `lr`, those
        of `log`. A loss of another name, such as `focal`, is not computed: give its value as `train_loss`. In training
        the model goes on as if it had not been measured.
        """
        from ncdiag.training.hooked import measure_model

        self._check_is_open()
        known: Loss | None = next((name for name in get_args(Loss) if name == loss), None)
        found = measure_model(model, head, batches, loss=known, test=test)
        return self.log(epoch, **({"loss": loss} | found | values))

    def log(self, epoch: int | None = None, **values: float | str | None) -> EpochRecord:
        """Log what was measured after an epoch, by the columns of `ncdiag export`, and give it.

        `epoch` is the next one if it is not said; epochs rise, and phases do not fall. A `loss` other than the last one
        begins a phase, unless `phase` says which it is. NaN and infinities are measurements; what is left out was not
        measured.

        Raises `SpecError` for an unknown column or a value that it cannot have.
        """
        self._check_is_open()
        record = self._phased(_record(self.epoch + 1 if epoch is None else epoch, values))
        if record.epoch <= self.epoch:
            raise SpecError(f"epoch {record.epoch} follows epoch {self.epoch}; expected epochs to rise")
        if self._last and record.phase_falls(self._last):
            raise SpecError(f"phase {record.phase} follows phase {self._last.phase}; expected phases not to fall")
        if record.seconds is None:
            record = replace(record, seconds=time.perf_counter() - self._since)
        self._recorder.add(record)
        self._epoch = record.epoch
        self._last, self._loss, self._since = record, record.loss or self._loss, time.perf_counter()
        return record

    def _check_is_open(self) -> None:
        if self._over:
            raise SpecError(f"{self.name} has ended with the `with` block of its track; log to it within the block")
        if self._is_elsewhere():
            raise SpecError(
                f"{self.name} is tracked by process {self._process}, from which this one, {os.getpid()}, was forked; "
                "log to it there"
            )

    def _is_elsewhere(self) -> bool:
        """Tell whether this is a process that was forked within the block: it has a copy of the run, not the run."""
        return os.getpid() != self._process

    def _phased(self, record: EpochRecord) -> EpochRecord:
        before = self._last.phase if self._last else None
        if record.phase is not None or (record.loss is None and before is None):
            return record
        changed = None not in (self._loss, record.loss) and self._loss != record.loss
        return replace(record, phase=(before or 1) + changed)

    def _status(self) -> tuple[RunStatus, str | None]:
        """Tell how a run ended whose block came to its end."""
        if self._last and any(
            not math.isfinite(self._last.values()[name] or 0.0) for name in ("train_loss", "feature_norm")
        ):
            return RunStatus.DIVERGED, f"the loss or the features were non-finite in epoch {self.epoch}"
        return RunStatus.DONE, None


class _Block(AbstractContextManager[TrackedRun, bool | None]):
    """What `track` gives: a block whose run there is only within it, which it says to who takes it for the run."""

    def __init__(self, block: AbstractContextManager[TrackedRun, bool | None]) -> None:
        self._block = block

    def __enter__(self) -> TrackedRun:
        return self._block.__enter__()

    def __exit__(self, *raised: Any) -> bool | None:
        return self._block.__exit__(*raised)

    def __getattr__(self, name: str) -> Any:
        if hasattr(TrackedRun, name):
            raise SpecError(
                f"ncdiag.track gives its run to a with block, and {name} belongs there:\n"
                f"with ncdiag.track(...) as run: run.{name}"
            )
        raise AttributeError(f"what ncdiag.track gives is entered by `with`, and has no {name!r}")


def track(
    name: str | None = None,
    *,
    store: str | os.PathLike[str] | None = None,
    resume: bool | int = False,
    **said: Plain | None,
) -> AbstractContextManager[TrackedRun, bool | None]:
    """Give a run to log to while the block lasts; at its end the run is done, after an exception failed or interrupted.

    `store` is a path or URL, by default $NCDIAG_STORE, else `ncdiag.db` here. `said` describes the run: `arch`,
    `dataset`, `depth`, `width`, `activation`, `optimizer`, `lr`, `weight_decay`, `batch_size`, `seed`,
    `epochs_planned` and the other fields of `ncdiag import --set`; any other word is a setting too, and tells
    conditions apart, unless it is a remark such as `note`. Runs of one `arch` and `dataset` are compared, and forecast
    from each other.

    `resume` continues the run of that name: a number after that epoch, where a checkpoint is, and True after its last
    one. One that is done can be made longer, but not shorter.

    Raises `SpecError` for a name that is taken or a run that is not as `said`, `UnsafeError` for one that another
    process holds, and at the end of the block `StoreError` if another one took the run over meanwhile.
    """
    return _Block(_track(name, store=store, resume=resume, said=said))


@contextmanager
def _track(
    name: str | None, *, store: str | os.PathLike[str] | None, resume: bool | int, said: Mapping[str, Plain | None]
) -> Iterator[TrackedRun]:
    config = check_described(said)
    if not isinstance(resume, bool) and (not isinstance(resume, SupportsIndex) or index(resume) < 0):
        raise SpecError(f"resume is True, or the epoch to go on after, from 0, not {resume!r}")
    url = os.fspath(store) if store is not None else default_location()
    owner = new_owner()
    with open_store(url, write=True) as opened:
        for change in opened.notes:
            _log.warning(change)
        run, made = (_make(opened, name, config), True) if resume is False else _find(opened, name, config)
        after = None if isinstance(resume, bool) else index(resume)
        with _held(opened, run, owner, after=after, made=made):
            recorder = Recorder(opened, run, owner=owner, tell=_log.warning)
            recorder.recover(until=after)
            tracked = TrackedRun(run, recorder, list_epochs(opened, run.id), after)
            with beating(opened, owner, lambda: [run.id]), _finished(opened, tracked, owner):
                yield tracked


@contextmanager
def _held(store: Store, run: Run, owner: str, *, after: int | None, made: bool) -> Iterator[None]:
    """Hold a run while the block lasts; one that was `made` for it is removed where that cannot be."""
    with ExitStack() as failed:
        if made:
            failed.callback(_remove, store, run)
        with hold_lease(store, run.id, owner) as leased:
            if not leased:
                failed.pop_all()  # somebody resumes it already
                raise UnsafeError(f"{run.name} is held by a process that trains it, this or another.{_ONE_OF_SEVERAL}")
            if not runs.claim_run(
                store,
                run.id,
                owner=owner,
                device=run.device,
                environment=_environment(),
                discard_after=after,
                extend=True,
            ):
                raise UnsafeError(_why_not(runs.get_run(store, run.name), store_option(store)))
            failed.pop_all()
            yield


def _why_not(run: Run, here: str) -> str:
    """Say why a run is not continued; `here` is the option that names the store."""
    lost = f" after epoch {run.epochs_done}, and epochs of it would be dropped" if run.status is RunStatus.DONE else ""
    return (
        f"{run.name} is {run.status}{lost}; nothing was changed.\n"
        f"Track what follows under another name, or remove the run with `ncdiag runs rm {run.name}{here}`"
    )


def _remove(store: Store, run: Run) -> None:
    with hurry(), suppress(NCDiagError):  # else it waits in the store, to be resumed or removed
        runs.remove_runs(store, [run.name])


@contextmanager
def _finished(store: Store, tracked: TrackedRun, owner: str) -> Iterator[None]:
    """Store how a run ended, whichever way the block does."""

    def finish(status: RunStatus, reason: str | None) -> None:
        if not runs.finish_run(store, tracked._run.id, owner=owner, status=status, reason=reason):
            raise taken_over(tracked._run.id)

    try:
        yield
    except BaseException as error:
        if tracked._is_elsewhere():
            raise
        tracked._over = True
        status, reason = _broken_off(error)
        with hurry(), suppress(StoreError):  # the run is lost then, and what was logged waits in its folder
            if tracked._recorder.settle_in_hurry():
                finish(status, reason)
        raise
    if tracked._is_elsewhere():
        return
    tracked._over = True
    patience = Patience(OUTAGE_SECONDS)
    patience.outlast(tracked._recorder.settle)
    patience.outlast(lambda: finish(*tracked._status()))


def _broken_off(error: BaseException) -> tuple[RunStatus, str]:
    """Tell how a run ended whose block was left by an exception."""
    code = error.code if isinstance(error, SystemExit) else ""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)) or (isinstance(code, int) and code > 128):
        return RunStatus.INTERRUPTED, "stopped by a signal"  # which handlers turn into 128 and its number
    if code in (None, 0):
        return RunStatus.INTERRUPTED, "ended by sys.exit before the block had ended"
    return RunStatus.FAILED, f"{type(error).__name__}: {error}"


def _environment() -> dict[str, str]:
    return {"ncdiag": ncdiag.__version__, "python": platform.python_version(), "platform": platform.platform()}


def _make(store: Store, name: str | None, config: Mapping[str, Any]) -> Run:
    key = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    try:
        return add_tracked_run(store, key=key, name=name, config=config)
    except SpecError:
        with suppress(UnknownRunError):
            if name and (oversight := _oversight(runs.get_run(store, name), store_option(store))):
                raise SpecError(oversight) from None
        raise


def _oversight(known: Run, here: str) -> str | None:
    """Say what was meant by the name of a run that is not over, if it was tracked."""
    if known.source != SOURCE or known.status in (RunStatus.DONE, RunStatus.DIVERGED):
        return None
    if known.status is RunStatus.RUNNING:
        return f"{known.name} is being tracked already; choose another name.{_ONE_OF_SEVERAL}"
    return (
        f"there is a run {known.name}, {known.status} after epoch {known.epochs_done}; go on with it by resume=True, "
        f"choose another name,\nor remove it with `ncdiag runs rm {known.name}{here}`"
    )


def _find(store: Store, name: str | None, config: Mapping[str, Any]) -> tuple[Run, bool]:
    """Find the run to be resumed; one that is not there yet is made, so that a script may always say `resume=True`.

    Tells whether it was.
    """
    if name is None:
        raise SpecError("a run to be resumed needs its name, as in ncdiag.track('my-net', resume=True)")
    try:
        run = runs.get_run(store, name)
    except UnknownRunError:
        return _make(store, name, config), True
    if run.source != SOURCE:
        raise UnsafeError(f"{name} was not tracked but {run.origin}; choose another name")
    changed = {key for key in run.config.keys() | config.keys() if run.config.get(key) != config.get(key)}
    if changed:
        differences = ", ".join(f"{key} {run.config.get(key)!r} -> {config.get(key)!r}" for key in sorted(changed))
        raise SpecError(f"{name} was another run: {differences}.\nSay what it was, or choose another name")
    return run, False


def _record(epoch: Any, values: Mapping[str, Any]) -> EpochRecord:
    unknown = [name for name in values if name not in EPOCH_COLUMNS]
    if unknown:
        raise SpecError(
            f"nothing is stored under {unknown[0]!r}{nearest(unknown[0], EPOCH_COLUMNS)}; "
            f"an epoch has {', '.join(EPOCH_COLUMNS[1:])}"
        )
    checked: dict[str, Any] = {name: _value(name, value) for name, value in values.items()}
    return EpochRecord(epoch=_whole("epoch", epoch, LARGEST), **checked)


def _value(name: str, value: Any) -> float | int | str | None:
    if value is None:
        return value
    if name == "loss":
        with suppress(ValueError):
            if isinstance(value, str):
                return loss_name(value)
        raise SpecError(
            f"loss is the name of what is minimised, such as 'ce', without spaces, commas and colons, not {value!r}; "
            "its value is train_loss"
        )
    if name == "phase":
        return _whole(name, value, LAST_PHASE)
    try:
        number = float(value)  # of numpy, or a tensor of one element
    except (TypeError, ValueError, OverflowError):
        raise SpecError(f"{name} must be a number, not {value!r}") from None
    least, most = range_of(name)
    if number < least:
        raise SpecError(f"{name} cannot be below 0; it is {number:g}")
    if number > most:
        raise SpecError(f"{name} is a share, from 0 to 1; it is {number:g}")
    return number


def _whole(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or not 1 <= index(value) <= most:
        raise SpecError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return index(value)
