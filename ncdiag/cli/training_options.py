"""The options that describe a run, written down once for `train`, `sweep`, presets and configuration files.

`train` takes one value of each; `sweep` takes lists (`1e-5,1e-4`, and `0:5` for whole numbers from 0 to 4) and trains
every combination. Values stay text until both have been read the same way.
"""

import inspect
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ncdiag.cli.complete import complete_choices
from ncdiag.cli.output import note
from ncdiag.cli.presets import find_preset
from ncdiag.domain.spec import (
    BUILTIN_DATASETS,
    Activation,
    Arch,
    Intervention,
    OptimizerName,
    PhaseSpec,
    Precision,
    Schedule,
)
from ncdiag.domain.sweep import MAX_POINTS
from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError

_DECIMALS = re.compile(r"\s*0[0-9]+\s*")  # of 0,0001, which is a list of two numbers
_DASHED = re.compile(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*")

# What was said of the runs: each option's text, several texts for --phase.
Given = Mapping[str, str | bool | list[str] | None]


@dataclass(frozen=True, kw_only=True)
class TrainingOption:
    """One option: its name as in `RunSpec`'s defaults, how its text is read, and what `--help` says of it."""

    name: str
    read: Callable[[str], Any]
    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    kind: type = str

    @property
    def flag(self) -> str:
        """Give the option as it is typed."""
        return "--" + self.name.replace("_", "-").removesuffix("s" if self.name == "phases" else "")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"expected a whole number, not {text!r}") from None


def _real(text: str) -> float:
    if _DECIMALS.fullmatch(text):
        raise SpecError(f"expected a number such as 0.001 or 1e-3, not {text!r}; decimals follow a point")
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"expected a number such as 0.001 or 1e-3, not {text!r}") from None


def _yes(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise SpecError(f"expected true or false, not {text!r}")
    return text.lower() == "true"


OPTIONS = (
    TrainingOption(
        name="arch",
        read=str,
        metavar="NAME",
        choices=get_args(Arch),
        help="Network: mlp, cnn or resnet20. [default: mlp]",
    ),
    TrainingOption(
        name="depth",
        read=_whole,
        metavar="N",
        help="Hidden layers (mlp), convolutions (cnn), or 6n+2 layers (resnet20). [default: 5, 3, 20]",
    ),
    TrainingOption(
        name="width",
        read=_real,
        metavar="NUMBER",
        help="Features (mlp, cnn), or multiplier of 16/32/64 channels (resnet20). [default: 512, 128, 1]",
    ),
    TrainingOption(
        name="activation",
        read=str,
        metavar="NAME",
        choices=get_args(Activation),
        help="relu, leaky_relu, gelu, silu or tanh. [default: relu]",
    ),
    TrainingOption(
        name="dataset",
        read=str,
        metavar="NAME|PATH",
        choices=BUILTIN_DATASETS,
        help="digits (no download), mnist, fashion_mnist, cifar10, a folder with train/ and test/, or a FILE.npz. "
        "[default: digits]",
    ),
    TrainingOption(
        name="train_size",
        read=_whole,
        metavar="N",
        help="Train on N images, balanced over the classes. [default: all]",
    ),
    TrainingOption(
        name="subset_seed", read=_whole, metavar="N", help="Seed that picks the --train-size images. [default: 0]"
    ),
    TrainingOption(
        name="phases",
        read=PhaseSpec.parse,
        metavar="LOSS:EPOCHS",
        kind=list,
        help="A phase, ce or mse; repeat for several. ce:200@100@150 drops a multistep rate at 100 and 150. "
        "[default: ce:200 and mse:400; mse:600 for resnet20]",
    ),
    TrainingOption(
        name="optimizer",
        read=str,
        metavar="NAME",
        choices=get_args(OptimizerName),
        help="adam (L2 in the gradient), adamw (decoupled) or sgd (Nesterov). [default: adam; sgd for resnet20]",
    ),
    TrainingOption(
        name="lr", read=_real, metavar="NUMBER", help="Learning rate at the start. [default: 1e-3; 0.1 for sgd]"
    ),
    TrainingOption(name="momentum", read=_real, metavar="NUMBER", help="Momentum of sgd. [default: 0.9]"),
    TrainingOption(
        name="weight_decay", read=_real, metavar="NUMBER", help="Weight decay. [default: 1e-4; 1e-3 for resnet20]"
    ),
    TrainingOption(
        name="schedule",
        read=str,
        metavar="NAME",
        choices=get_args(Schedule),
        help="cosine, multistep or constant, anew in each phase. [default: cosine; multistep for sgd]",
    ),
    TrainingOption(
        name="batch_size",
        read=_whole,
        metavar="N",
        help="Images a step. [default: 256; digits 32; resnet20 512, on cifar10 128]",
    ),
    TrainingOption(name="seed", read=_whole, metavar="N", help="Seed of the weights and the order. [default: 0]"),
    TrainingOption(
        name="eval_every",
        read=lambda text: text if text == "log" else _whole(text),
        metavar="N|log",
        help="Measure every N epochs; log measures ever more seldom, each time 10% later in a phase, and around "
        "steps of the learning rate. [default: 1]",
    ),
    TrainingOption(
        name="metric_samples",
        read=_whole,
        metavar="N",
        help="Measure on N training images, a fixed proportional part, rather than on all. [default: all]",
    ),
    TrainingOption(
        name="test_samples",
        read=_whole,
        metavar="N",
        help="Test on N test images, a fixed proportional part, rather than on all. [default: all]",
    ),
    TrainingOption(
        name="precision",
        read=str,
        metavar="NAME",
        choices=get_args(Precision),
        help="Of training's products: float32, tf32 (NVIDIA only) or bf16. Metrics stay float32. [default: float32]",
    ),
    TrainingOption(
        name="stop_at_onset",
        read=_yes,
        metavar="",
        kind=bool,
        help="End a run once NC1 has stayed below --eps for --patience evaluations of the last phase.",
    ),
    TrainingOption(name="eps", read=_real, metavar="NUMBER", help="Threshold of --stop-at-onset. [default: 0.01]"),
    TrainingOption(name="patience", read=_whole, metavar="N", help="Evaluations for --stop-at-onset. [default: 3]"),
    TrainingOption(
        name="scale_features",
        read=lambda text: None if text == "none" else Intervention.parse(text),
        metavar="ALPHA@EPOCH",
        help="After EPOCH, multiply the last hidden layer by ALPHA; none is the control of a sweep.",
    ),
    TrainingOption(
        name="compensate_head",
        read=_yes,
        metavar="",
        kind=bool,
        help="With --scale-features, divide the head by ALPHA, which keeps the logits.",
    ),
)
_BY_NAME = {option.name: option for option in OPTIONS}


def takes_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose `**given` is spelled out as the training options, for Typer to read.

    One table then describes what `train` and `sweep` accept; two signatures of twenty options would drift apart.
    """
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(option))
        for option in OPTIONS
    ]
    command.__signature__ = signature.replace(parameters=[*parameters, *own])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*parameters, *own]}
    return command


def _annotation(option: TrainingOption) -> Any:
    info = typer.Option(
        option.flag,
        metavar=option.metavar or None,
        help=option.help,
        show_default=False,
        autocompletion=complete_choices(*option.choices) if option.choices else None,
    )
    value: Any = bool | None if option.kind is bool else list[str] | None  # said twice, the first is not forgotten
    return Annotated[value, info]


def read_values(given: Given, *, preset: str | None, config: Path | None) -> dict[str, Any]:
    """Read one value of every option that was said: of a preset that is a grid its first point, which a note says.

    Raises `SpecError` that names the option, also for a list that was given on the line or in the file.
    """
    axes = read_axes(merge_sources(given, preset=preset, config=config))
    for name in merge_sources(given, preset=None, config=config):
        if len(axes[name]) > 1:
            flag, where = _BY_NAME[name].flag, "" if name in _given(given) else f" in {config}"
            raise SpecError(
                f"{flag} takes one value in `ncdiag train`, and got {len(axes[name])}{where}.\n"
                "`ncdiag sweep` takes lists, and trains a run of each"
            )
    if (points := math.prod(map(len, axes.values()))) > 1:
        note(f"--preset {preset} is a grid of {points} points; this is the first. `ncdiag sweep` trains all of them.")
    return {name: values[0] for name, values in axes.items()}


def read_axes(said: Given) -> dict[str, list[Any]]:
    """Read a list of values of every option that was said: the axes of a grid, in the order of the options."""
    axes: dict[str, list[Any]] = {}
    for option in OPTIONS:
        text = said.get(option.name)
        if text is None or text == []:
            continue
        if isinstance(text, list):
            # each --phase is a place in the sequence, with alternatives separated by commas
            places = [_read_list(option, item) for item in text]
            _check_number(option, math.prod(map(len, places)))
            axes[option.name] = list(product(*places))
        else:
            axes[option.name] = [text] if isinstance(text, bool) else _read_list(option, text)
    return axes


def _read(option: TrainingOption, text: str) -> Any:
    try:
        return option.read(text.strip())
    except SpecError as error:
        raise SpecError(f"{option.flag}: {error}") from None


def _read_list(option: TrainingOption, text: str) -> list[Any]:
    values: list[Any] = []
    for item in text.split(","):
        if option.read is _whole and (ends := _DASHED.fullmatch(item)) and int(ends[1]) < int(ends[2]):
            low, high = map(int, ends.groups())
            raise SpecError(f"{option.flag}: {item.strip()} is no range; {low}:{high + 1} gives {low} to {high}")
        first, colon, end = item.partition(":")
        if colon and option.read is _whole:
            low, high = _read(option, first), _read(option, end)
            if not low < high:
                raise SpecError(f"{option.flag}: the range {item} is empty; {low}:{low + 5} gives {low} to {low + 4}")
            _check_number(option, high - low)
            values += range(low, high)
        else:
            values.append(_read(option, item))
    return values


def _check_number(option: TrainingOption, number: int) -> None:
    if number > MAX_POINTS:
        raise SpecError(f"{option.flag}: {number:,} values; a grid has at most {MAX_POINTS:,} points. Give fewer")


def merge_sources(given: Given, *, preset: str | None, config: Path | None) -> dict[str, Any]:
    """Give what was said, the command line before the configuration file before the preset."""
    said: dict[str, Any] = {} if preset is None else dict(find_preset(preset).options)
    if config is not None:
        said.update(_read_config(config))
    said.update(_given(given))
    return said


def _given(given: Given) -> dict[str, Any]:
    """Give the options that were said; one that was said twice is the list of both, as with a comma."""
    return {
        name: ",".join(text) if isinstance(text, list) and _BY_NAME[name].kind is str else text
        for name, text in given.items()
        if text not in (None, [])
    }


def _read_config(path: Path) -> dict[str, str | bool | list[str]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder; --config takes the path of a TOML file") from None
    except FileNotFoundError:
        raise SpecError(f"there is no configuration file {path}; --config takes the path of a TOML file") from None
    except (OSError, ValueError, RecursionError) as error:  # of which the errors of tomllib and of UTF-8 are some
        raise SpecError(f"{path} is not readable TOML: {error}") from None
    said: dict[str, str | bool | list[str]] = {}
    for key, value in content.items():
        name = {"phase": "phases"}.get(key, key.replace("-", "_"))
        if name not in _BY_NAME:
            known = sorted(option.flag[2:] for option in OPTIONS)
            raise SpecError(f"{path}: {key!r} is no option of a run{nearest(key, known)}; known are {', '.join(known)}")
        if name in said:
            raise SpecError(f"{path}: {key!r} is there twice, in two spellings; expected it once")
        if "\0" in str(value):
            raise SpecError(f"{path}: {key!r} holds a NUL, which no name of a file can")
        if isinstance(value, dict):
            raise SpecError(f"{path}: {key!r} is a table; expected a value or a list of values")
        if isinstance(value, bool) != (_BY_NAME[name].kind is bool):
            kind = "true or false" if _BY_NAME[name].kind is bool else "a value or a list of values"
            raise SpecError(f"{path}: expected {kind} for {key!r}, not {value!r}")
        if isinstance(value, bool):
            said[name] = value
        elif _BY_NAME[name].kind is list:
            said[name] = [str(item) for item in (value if isinstance(value, list) else [value])]
        else:
            said[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return said
