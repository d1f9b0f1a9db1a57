"""Build what a configuration names: the signature of an object is the schema of its node.

A node is a mapping whose ``_target_`` names a class or a function, of this package or of any
other; its other keys are the arguments. Their types, ranges and defaults stand in the signature and
nowhere else. An argument that is to be a function may be a node too: it stands for a call with
these arguments, as does any node with ``_partial_: true``. ``_num_classes_`` of a network names
the argument that is given the number of classes.
"""

import functools
import inspect
import reprlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib import import_module
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from alexnet_repro.base.errors import UsageError, one_line

Count = Annotated[int, Field(ge=1, lt=2**31)]
Natural = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pixels = Annotated[int, Field(ge=8, le=4096)]
"""A side of an image: files that may come from anybody say it too."""
Classes = Annotated[int, Field(ge=2)]

TARGET, PARTIAL, CLASSES = "_target_", "_partial_", "_num_classes_"
PACKAGE = __name__.partition(".")[0]
HANDED_ON = {
    "lightning.pytorch.loggers.wandb.WandbLogger": "wandb.init",
    "lightning.pytorch.loggers.tensorboard.TensorBoardLogger": (
        "torch.utils.tensorboard.SummaryWriter"
    ),
    "lightning.pytorch.callbacks.throughput_monitor.ThroughputMonitor": (
        "lightning.fabric.utilities.throughput.Throughput"
    ),
    "lightning.pytorch.callbacks.weight_averaging.EMAWeightAveraging": (
        "torch.optim.swa_utils.AveragedModel"
    ),
    "lightning.pytorch.strategies.ddp.DDPStrategy": "torch.nn.parallel.DistributedDataParallel",
}
"""Who takes the arguments that a signature does not name (``**kwargs``), where that is known."""

Init = TypeVar("Init", bound=Callable[..., None])
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class ArgumentsOf:
    """Of a mapping in a signature: its keys are arguments of ``target``, but for ``given`` ones."""

    target: Callable[..., Any]
    given: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return _model(self.target, self.given).__pydantic_core_schema__


def build(node: Mapping[str, Any], key: str, /, **given: Any) -> Any:
    """The object that ``node`` names; nodes among its arguments are built before.

    Args:
        node: ``_target_`` and arguments.
        key: of the node in the configuration, for messages: ``model``.
        given: arguments that the program adds, in the place of those of the node.

    Raises:
        UsageError: naming the keys that the signature does not take, or not with these values; or
            the node, where the object refuses its arguments.
    """
    target = located(node, key)
    partial = node.get(PARTIAL, False)
    arguments = _checked_and_built(target, node, key, given, complete=not partial) | given
    return functools.partial(target, **arguments) if partial else called(target, key, **arguments)


def built_as(kind: type[Kind], node: Mapping[str, Any], key: str, /, **given: Any) -> Kind:
    """As :func:`build`, of what has to be a ``kind``.

    Raises:
        UsageError: if it is not.
    """
    made = build(node, key, **given)
    if not isinstance(made, kind):
        raise UsageError(f"{key}.{TARGET}={node[TARGET]}: it makes no {kind.__name__}")
    return made


def build_partial(node: Mapping[str, Any], key: str, *later: str) -> Callable[..., Any]:
    """A call of what ``node`` names: with its arguments, and with those named ``later``."""
    target = located(node, key)
    arguments = _checked_and_built(target, node, key, later, complete=True)
    return functools.partial(called, target, key, **arguments)


def called(target: Callable[..., Any], key: str, /, *positional: Any, **arguments: Any) -> Any:
    """``target(…)``; what it refuses is told with the key of its node."""
    try:
        return target(*positional, **arguments)
    except _refusals() as error:
        raise UsageError(f"{key}: {_name(target)}: {one_line(error)}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """What objects raise that do not take their arguments."""
    # Seconds to import, which commands do without until something is built.
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    own = ValueError, TypeError, LookupError, ArithmeticError, ImportError
    return *own, MisconfigurationException


def located(node: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """What ``_target_`` of a node names.

    Raises:
        UsageError: if the node has none, or there is nothing of that name.
    """
    name = node.get(TARGET)
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{key}.{TARGET}={name}: it has to name a class or function, package.Name")
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            if f"{module}.".startswith(f"{error.name}."):
                continue
            raise UsageError(f"{key}.{TARGET}={name}: {error}") from error
        except (ImportError, SyntaxError) as error:
            raise UsageError(f"{key}.{TARGET}={name}: {one_line(error)}") from error
        for part in parts[end:]:
            if not hasattr(found, part):
                similar = did_you_mean(part, dir(found))
                raise UsageError(f"{key}.{TARGET}={name}: there is no {part} in {module}{similar}")
            found = getattr(found, part)
        if callable(found):
            return found  # type: ignore[no-any-return]
        break
    else:
        raise UsageError(f"{key}.{TARGET}={name}: there is no module {parts[0]}")
    raise UsageError(f"{key}.{TARGET}={name}: it is neither a class nor a function")


def taken(target: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the arguments that the signature of ``target`` names."""
    parameters = inspect.signature(target).parameters
    return {name: value for name, value in offered.items() if name in parameters}


def takes_any(target: Callable[..., Any]) -> bool:
    """Whether ``target`` hands on arguments that its signature does not name."""
    parameters = inspect.signature(target).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def check(node: Mapping[str, Any], key: str, *given: str) -> None:
    """What :func:`build` would refuse in ``node``, without building anything.

    Raises:
        UsageError: as :func:`build`, but for what objects themselves refuse.
    """
    target = located(node, key)
    nested = {
        name
        for name, value in _arguments(node).items()
        if isinstance(value, Mapping) and TARGET in value
    }
    for name in nested:
        check(node[name], f"{key}.{name}")
    checked(target, _arguments(node), key, {*given, *nested}, not node.get(PARTIAL, False))


def checked(
    target: Callable[..., Any],
    arguments: Mapping[str, Any],
    key: str = "",
    given: Collection[str] = (),
    complete: bool = True,
) -> dict[str, Any]:
    """``arguments`` as the signature of ``target`` takes them.

    Args:
        key: of the node in the configuration; empty for the configuration itself.
        given: arguments that come from elsewhere, and so are neither missing nor checked.
        complete: whether all others that the signature needs have to be there.

    Raises:
        UsageError: naming every key that is wrong, and why.
    """
    values = {name: value for name, value in arguments.items() if name not in given}
    model = _model(target, tuple(sorted(given)), complete)
    try:
        validated = model.model_validate(values)
    except ValidationError as error:
        known = {*_parameters(target), *given}
        raise UsageError(_told(error, values, key, known)) from error
    return {
        name: _as_taken(value, getattr(validated, f"{name}_", value))
        for name, value in values.items()
    }


def checks_arguments(init: Init) -> Init:
    """A constructor that refuses what its annotations exclude, wherever it is called from."""

    @functools.wraps(init)
    def checking(self: Any, *positional: Any, **named: Any) -> None:
        own = inspect.signature(init).bind(self, *positional, **named).arguments
        try:
            taken = checked(init, own, given=("self",))
        except UsageError as error:
            raise ValueError(str(error)) from error
        init(self, **taken)

    return checking  # type: ignore[return-value]


def described(node: Mapping[str, Any], key: str) -> dict[str, Any]:
    """``node`` with the defaults of its signature filled in: what a record says of it."""
    target = located(node, key)
    defaults = {
        name: _plain(parameter.default)
        for name, parameter in inspect.signature(target).parameters.items()
        if _is_plain(parameter.default)
    }
    own: dict[str, Any] = {
        name: node[name] for name in (TARGET, CLASSES) if name in node
    } | defaults
    for name, value in _arguments(node).items():
        if isinstance(value, Mapping):
            before = defaults.get(name)
            filled = described(value, f"{key}.{name}") if TARGET in value else dict(value)
            own[name] = (before if isinstance(before, dict) else {}) | filled
        else:
            own[name] = value
    return own


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a configuration that hold no others, and their values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def did_you_mean(given: str, known: Collection[str], above: Sequence[str] = ()) -> str:
    """``; did you mean …?`` if something known is written much like what was given."""
    similar = get_close_matches(given, known, n=1)
    return f"; did you mean {'.'.join((*above, similar[0]))}?" if similar else ""


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in (TARGET, PARTIAL, CLASSES)}


def _checked_and_built(
    target: Callable[..., Any],
    node: Mapping[str, Any],
    key: str,
    given: Collection[str],
    complete: bool,
) -> dict[str, Any]:
    hints = _hints(target)

    def built(value: Any, place: str, hint: Any = None) -> Any:
        if isinstance(value, Mapping):
            if TARGET in value:
                a_call = _takes_call(hint) and not value.get(PARTIAL)
                return build_partial(value, place) if a_call else build(value, place)
            return {name: built(one, f"{place}.{name}") for name, one in value.items()}
        if isinstance(value, list):
            return [built(one, f"{place}.{number}") for number, one in enumerate(value)]
        return value

    arguments = {
        name: built(value, f"{key}.{name}", hints.get(name))
        for name, value in _arguments(node).items()
        if name not in given
    }
    return checked(target, arguments, key, given, complete)


Callable_ = get_origin(Callable[..., Any])
LONGEST = 200
"""Characters of a wrong value that are told."""
PLAIN = (bool, int, float, str, type(None))


def _takes_call(hint: Any) -> bool:
    """Whether a value of this type may be a function."""
    return get_origin(hint) is Callable_ or any(map(_takes_call, get_args(hint)))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(one) for one in value.values())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Types of arguments, but for those that their module imports for type checkers only."""
    function = target
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isclass(function):
        has_init = function.__init__ is not object.__init__
        function = function.__init__ if has_init else function.__new__
    namespace = vars(sys.modules.get(getattr(function, "__module__", ""), object))
    found: dict[str, Any] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        probe = type("_", (), {"__annotations__": {name: hint}})
        with suppress(NameError, TypeError, AttributeError):
            found |= get_type_hints(probe, dict(namespace), include_extras=True)
    return found


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Of the signature, and of that of the receiver of the rest; annotations are types."""
    hints, own = _hints(target), inspect.signature(target).parameters
    typed = {n: p.replace(annotation=hints.get(n, Any)) for n, p in own.items()}
    if (receiver := HANDED_ON.get(_name(target))) is None:
        return typed
    rest = {}
    for name, one in _parameters(located({TARGET: receiver}, receiver)).items():
        # Where nothing else says what they are, numbers are told by their defaults.
        is_number = one.annotation is Any and type(one.default) in (int, float)
        hint = type(one.default) if is_number else one.annotation
        rest[name] = one.replace(default=None, annotation=hint)
    return {n: p for n, p in (rest | typed).items() if p.kind is not p.VAR_KEYWORD}


def _checkable(hint: Any) -> bool:
    """Whether a value that a file can hold would be of this type if it is right."""
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return False  # often a string will do, which no annotation says
    return all(_checkable(one) for one in get_args(hint) if one is not hint)


@functools.cache
def _model(
    target: Callable[..., Any], given: tuple[str, ...] = (), complete: bool = True
) -> type[BaseModel]:
    """A pydantic model with a field for every argument, whose alias is the argument's name.

    Our own signatures are taken by the letter; in those of others ``0.9, 0.999`` may be a list.
    """
    ours = _name(target).startswith(f"{PACKAGE}.")
    fields, extra = {}, False
    for name, parameter in _parameters(target).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = True
        elif name not in given:
            hint = parameter.annotation
            needed = parameter.default is parameter.empty and complete
            default = ... if needed else None
            fields[f"{name}_"] = (hint if _checkable(hint) else Any, Field(default, alias=name))
    config = ConfigDict(
        extra="allow" if extra else "forbid",
        strict=ours,
        allow_inf_nan=not ours,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
    try:
        return create_model(_name(target), __config__=config, **fields)  # type: ignore[call-overload, no-any-return]
    except PydanticUserError:
        anything = {name: (Any, field) for name, (_, field) in fields.items()}
        return create_model(_name(target), __config__=config, **anything)  # type: ignore[call-overload, no-any-return]


def _as_taken(value: Any, validated: Any) -> Any:
    """The value as the annotation reads it: a path for a text, a tuple for a list of numbers."""
    listed = isinstance(value, list) and isinstance(validated, tuple) and _is_plain(validated)
    return validated if isinstance(value, PLAIN) or listed else value


def _name(target: Any) -> str:
    while isinstance(target, functools.partial):
        target = target.func
    return f"{target.__module__}.{target.__qualname__.removesuffix('.__init__')}"


def _told(
    error: ValidationError, values: Mapping[str, Any], key: str, known: Collection[str]
) -> str:
    """What is wrong, in one line."""
    told: dict[str, str] = {}
    for one in error.errors():
        place, message = _place_and_message(one, values, key, known)
        # A value that is none of several types is told of once.
        said = message.partition(": ")[2].removeprefix("input should be ")
        told[place] = f"{told[place]}, or {said}" if place in told else f"{place}{message}"
    return "; ".join(told.values())


def _place_and_message(
    error: Any, values: Any, key: str, known: Collection[str]
) -> tuple[str, str]:
    *above, last = error["loc"] or ("",)
    level: Any = values
    parts = [key] if key else []
    # Between the keys stand names of types, where there is a choice of several.
    for part in above:
        if _has(level, part):
            level, parts = level[part], [*parts, str(part)]
    place = ".".join((*parts, str(last)))
    if error["type"] == "extra_forbidden":
        others = {*(known if level is values else level)} - {last}
        return place, f": there is no such key{did_you_mean(str(last), others, parts)}"
    if error["type"] == "missing":
        return place, f" has no default: add {place}=…"
    place = place if _has(level, last) else ".".join(parts)
    message: str = error["msg"].removeprefix("Value error, ")
    message = f"{message[0].lower()}{message[1:]}"
    if not place:
        return place, message
    if isinstance(error["input"], dict):
        return place, f": {message}"
    # As it is typed; of lists of lists, as a checkpoint may hold them, only the beginning.
    listed = isinstance(error["input"], list | tuple)
    given = reprlib.repr(error["input"]) if listed else str(error["input"])
    given = given if len(given) < LONGEST else f"{given[:LONGEST]}…"
    given = {"None": "null", "True": "true", "False": "false"}.get(given, given)
    return place, f"={given}: {message}"


def _has(level: Any, part: Any) -> bool:
    if isinstance(level, Mapping):
        return part in level
    return isinstance(level, list) and isinstance(part, int) and part < len(level)
