"""Options generated from the settings, so that default, bounds and help text are declared only once."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from jobs.cli.commands.options import Config
from pipeline.training.training_settings import TrainingSettings
from schemas.config import RunConfig, first_fault
from schemas.errors import MisuseError
from schemas.model import Arch

Command = Callable[..., None]
_UNITS = ("_s", "_mb")


def with_settings(*names: str, file: bool = False) -> Callable[[Command], Command]:
    """Replace the parameter ``settings`` of a command with options; it receives their `RunConfig`.

    Parameters
    ----------
    *names : str
        The settings that can be given on the command line, in the order of the help.
    file : bool
        Add ``--config``: a file that may hold these settings and all others.
    """
    options = [
        _option(name, RunConfig.model_fields[name], TypeAdapter(RunConfig), default_of(name))
        for name in names
    ]
    if not file:
        return _replace_parameter("settings", options, lambda given: RunConfig.load(None, **given))

    def load(given: Mapping[str, Any]) -> RunConfig:
        return RunConfig.load(given["config"], **{name: given[name] for name in names})

    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
    return _replace_parameter(
        "settings", [config, *options], load, refused=_notify if "notify" in names else None
    )


def with_training(*names: str) -> Callable[[Command], Command]:
    """Replace the parameter ``training`` of a command with options; it receives those that were given.

    Parameters
    ----------
    *names : str
        Fields of `TrainingSettings`, in the order of the help.
    """
    declared: dict[str, FieldInfo] = TrainingSettings.__pydantic_fields__  # type: ignore[attr-defined]
    options = [
        _option(name, declared[name], TypeAdapter(TrainingSettings), _training_defaults(name))
        for name in names
    ]
    return _replace_parameter(
        "training", options, lambda given: {key: value for key, value in given.items() if value is not None}
    )


def flag_of(name: str) -> str:
    """Return the flag of a setting: its name without the unit, which the help text states."""
    for unit in _UNITS:
        name = name.removesuffix(unit)
    return f"--{name.replace('_', '-')}"


def default_of(name: str) -> str:
    """Return the default of a setting of `RunConfig` as text; "" if it is off or depends on other things."""
    return _default_text(RunConfig.model_fields[name].default)


def range_of(field: FieldInfo) -> str:
    """Return the bounds of a number, such as ``0<x<=1``; "" if it has none."""
    low, high = "", ""
    for bound in field.metadata:
        match bound:
            case Ge(ge=least):
                low = f"{least:.10g}<="
            case Gt(gt=below):
                low = f"{below:.10g}<"
            case Le(le=most):
                high = f"<={most:.10g}"
            case Lt(lt=above):
                high = f"<{above:.10g}"
    if low and not high:
        return "x" + (">=" if low.endswith("=") else ">") + low.rstrip("<=")
    return f"{low}x{high}" if high else ""


def _training_defaults(name: str) -> str:
    """Return the default of the default architecture, and those of other architectures that differ."""
    own = {arch: _default_text(getattr(TrainingSettings.for_arch(arch), name)) for arch in get_args(Arch)}
    first = own[TrainingSettings().arch]
    return "; ".join([first, *(f"{arch}: {other}" for arch, other in own.items() if other != first)])


def _default_text(default: object) -> str:
    if default is None or isinstance(default, bool):
        return ""
    return f"{default:.10g}" if isinstance(default, int | float) else str(default)


def _option(name: str, field: FieldInfo, adapter: TypeAdapter[Any], default: str) -> inspect.Parameter:
    """Make the option of a setting. Its default is None, to tell an option that was not given."""
    kind, shown = _kind_of(field)
    flag = flag_of(name)
    facts = [f"default: {default}"] if default else []
    facts += [limits] if (limits := range_of(field)) else []
    text = f"{field.description}  [{'; '.join(facts)}]" if facts else field.description
    if kind is bool:
        option = typer.Option(f"{flag}/--no-{flag[2:]}", help=text)
    else:
        option = typer.Option(flag, help=text, metavar=f"<{shown}>", parser=_parser(name, adapter))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _kind_of(field: FieldInfo) -> tuple[Any, str]:
    """Return the type of a setting that is not None, and how the help shows it."""
    if get_origin(field.annotation) is Literal:
        return str, "|".join(get_args(field.annotation))
    (kind,) = {*(get_args(field.annotation) or (field.annotation,))} - {type(None)}
    return kind, kind.__name__


def _parser(name: str, adapter: TypeAdapter[Any]) -> Callable[[str], object]:
    """Return a function that parses the value of a flag as the setting declares it."""

    def parse(text: str) -> object:
        try:
            return getattr(adapter.validate_python({name: text}), name)
        except ValidationError as error:
            raise typer.BadParameter(first_fault(error)[1]) from error

    return parse


def _notify(command: str, given: Mapping[str, Any], error: MisuseError) -> None:
    """Post that a run was refused for its settings, if a URL is known without them."""
    from jobs.run.notification import notify_misuse

    if not given["dry_run"]:
        notify_misuse(command, given.get("catalog"), given["tables"], given.get("notify"), error)


def _replace_parameter(
    name: str,
    options: Sequence[inspect.Parameter],
    read: Callable[[Mapping[str, Any]], object],
    refused: Callable[[str, Mapping[str, Any], MisuseError], None] | None = None,
) -> Callable[[Command], Command]:
    """Replace a parameter of a command with options from which its value is computed.

    If they make no value, `refused` is called with the name of the command, what was given, and the error.
    """

    def extend(command: Command) -> Command:
        signature = inspect.signature(command)

        @functools.wraps(command)
        def extended(**given: object) -> None:
            values = {option.name: given.pop(option.name) for option in options}
            try:
                value = read(values)
            except MisuseError as error:
                if refused is not None:
                    refused(command.__name__, given | values, error)
                raise
            command(**given, **{name: value})

        shown: list[inspect.Parameter] = []
        for each in signature.parameters.values():
            shown += options if each.name == name else [each.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        # Typer reads the signature.
        vars(extended)["__signature__"] = signature.replace(parameters=shown)
        return extended

    return extend
