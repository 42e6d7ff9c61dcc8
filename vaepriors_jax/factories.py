"""Factories record their arguments, so that a prior or a flow can be made again from its configuration."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer

from vaepriors_jax.base import Config, Flow, Inner, Params, Prior, format_config
from vaepriors_jax.checks import check_boolean, did_you_mean
from vaepriors_jax.networks.variables import Variables

P = ParamSpec("P")
R = TypeVar("R", Prior, Flow)

# Every factory, by its name and the module that defines it.
_FACTORIES: dict[str, dict[str, Callable[..., Any]]] = {}


def register(name: str, module: str, function: Callable[..., Any]) -> None:
    """Makes a factory known to `prior_from_config`; names of this package's own factories are taken."""
    known = _FACTORIES.setdefault(name, {})
    package = __name__.partition(".")[0]
    for other in known:
        if other != module and other.partition(".")[0] == package:
            raise ValueError(
                f"Expected another name than `{name}`, which is the factory of {other}: a saved configuration holds "
                "the name alone. Rename your factory."
            )
    known[module] = function


def find_factory(name: str) -> Callable[..., Any]:
    """Returns the one factory of a name, or raises ValueError."""
    known = _FACTORIES.get(name, {}) if isinstance(name, str) else {}
    if not known:
        raise ValueError(
            f"Expected a factory among {', '.join(sorted(_FACTORIES))}; got {name!r}. Import the module that defines "
            "it, or pass the prior to `load_model` as `prior=`."
        )
    if len(known) > 1:
        raise ValueError(
            f"Expected one factory named {name!r}; got several, of the modules {', '.join(sorted(known))}. Pass the "
            f"one that is meant as `factories=({name},)`, or the prior to `load_model` as `prior=`."
        )
    return next(iter(known.values()))


def shapes_of_init(made: Prior | Flow) -> Params:
    """The parameters that `init` makes, as shapes and dtypes."""
    key = jax.random.key(0)
    try:
        return jax.eval_shape(made.init, key)
    except jax.errors.JAXTypeError:  # an `init` that computes with NumPy
        return made.init(key)


def _shapes(params: Params) -> Any:
    return jax.tree.map(lambda leaf: list(np.shape(leaf)), params)


def check_shapes(made: Prior | Flow, params: Params, init_shapes: Params = None) -> None:
    """Raises ValueError if parameters have the names, but not the shapes of those that `init` makes.

    `init_shapes` are those, where they are known.
    """
    init_shapes = shapes_of_init(made) if init_shapes is None else init_shapes
    expected, given_params = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (init_shapes, params))
    for path, leaf in given_params.items():
        shape, wanted = np.shape(leaf), np.shape(expected.get(path, leaf))
        if shape != wanted:
            raise ValueError(
                f"Expected parameters as the `init` of {made!r} makes them; the shape of "
                f"{jax.tree_util.keystr(path, simple=True, separator='.')} is {list(shape)} instead of {list(wanted)}. "
                "Pass `prior.init(key)` of this prior."
            )


def _explaining(made: Prior | Flow, config: Config) -> Callable[..., Any]:
    """The `apply` that says what is wrong with the context or the parameters that it gets."""
    apply, named = made.apply, made._replace(config=config)
    parameters = inspect.signature(apply).parameters.values()
    required = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]

    @functools.cache
    def shapes() -> Params:
        try:
            return shapes_of_init(named)
        except Exception:  # an `init` that fails says so itself
            return {}

    @functools.wraps(apply)
    def checked(params: Params, /, **context: Any) -> Any:
        if isinstance(params, Variables):
            raise TypeError(
                f"Expected the parameters of {format_config(config)}; got `vp.Variables`. Pass these parts of them: "
                "`prior.apply(variables.params, **variables.state)`."
            )
        check_shapes(named, params, shapes())
        if missing := [name for name in required if name not in context]:
            has_state = isinstance(made, Prior) and made.init_state is not None
            state = " `vp.init_prior_state` makes the state of this prior." if has_state else ""
            raise TypeError(
                f"{format_config(config)} reads the context {', '.join(map(repr, missing))}, which is missing. A VAE "
                "passes `encode`; per-example context, such as `y`, is an entry of the batch beside 'x', or a keyword "
                f"argument.{state}{did_you_mean(missing, context)}"
            )
        try:
            return apply(params, **context)
        except (AttributeError, KeyError, TypeError) as error:
            expected, got = _shapes(shapes_of_init(made)), _shapes(params)
            if got == expected:
                raise
            raise ValueError(
                f"Expected parameters as the `init` of {format_config(config)} makes them, arrays of the shapes "
                f"{expected}; got {got}."
            ) from error

    return checked


def _plain(value: Any, annotation: Any = None) -> Any:
    """An argument in Python's own numbers where it is one number, or an array where a tuple is expected."""
    if isinstance(value, Mapping):
        return {name: _plain(item, annotation) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else value
    if not isinstance(value, (np.generic, np.ndarray, jax.Array)) or isinstance(value, Tracer):
        return value
    is_number = jax.numpy.issubdtype(value.dtype, np.number) or np.issubdtype(value.dtype, np.bool_)
    if not is_number or (value.ndim and "tuple" not in str(annotation)):
        return value
    plain = np.asarray(value).tolist()
    return tuple(plain) if isinstance(plain, list) else plain


_EXAMPLES = {Prior: "a prior, such as `vp.standard_normal(2)`", Flow: "a flow, such as `vp.affine_coupling(2)`"}


def check_is(kind: type[Prior] | type[Flow], value: Any, place: str = "") -> None:
    """Raises TypeError unless a value is a prior, or a flow; `place` says where it was passed."""
    if isinstance(value, kind):
        return
    if isinstance(value, (Prior, Flow)):
        got, advice = f"the {type(value).__name__.lower()} {value!r}", "Check the order of the arguments"
    elif callable(value):
        name = format_config(value)
        got, advice = f"the function `{name}`", f"Call the factory, as in `{name}(...)`, and pass what it returns"
    else:
        got, advice = type(value).__name__, "Call a factory, and pass what it returns"
    raise TypeError(f"Expected {_EXAMPLES[kind]}{place}; got {got}. {advice}.")


def _check_pieces(signature: inspect.Signature, name: str, arguments: Mapping[str, Any]) -> None:
    """Raises TypeError unless the arguments that are annotated as a prior, a flow or a boolean are one."""
    for argument, value in arguments.items():
        parameter = signature.parameters[argument]
        if parameter.annotation is bool:
            check_boolean(**{argument: value})
        if parameter.annotation in (Prior, Flow):
            call = f"{name}({', '.join(map(str, signature.parameters))})"
            several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            for piece in value if several else [value]:
                check_is(parameter.annotation, piece, f", as `{argument}` of `{call}`")


def factory(make: Callable[P, R]) -> Callable[P, R]:
    """Records the arguments of a factory in the `config` of the prior or flow that it makes.

    Arguments that are left at their default are left out; a list of positional ones (`chain`) is named "*". A prior or
    flow among the arguments goes in by its own configuration. Numbers of numpy and JAX become Python's, as do
    arrays for an argument that is annotated as a tuple. Other arrays and functions go in as they are: such a
    configuration is not plain data (see `plain_config`). An argument that is annotated as `Prior` or `Flow` has to be
    one.

    The decorated function may leave `config` empty: `return Prior(init, apply, {})`. It may also return what another
    factory made: the prior is then known by the new name, and wraps the other one.

    `prior_from_config` and `load_model` find each factory by its name, once its module is imported.

    Raises:
        ValueError: the name is that of a factory of this package.
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = _plain(value, signature.parameters[name].annotation)
        _check_pieces(signature, make.__name__, bound.arguments)
        made = make(*bound.args, **bound.kwargs)
        config: Config = {"factory": make.__name__}
        for name, value in bound.arguments.items():
            if isinstance(value, (Prior, Flow)):
                value = value.config
            elif isinstance(value, (list, tuple)):
                value = tuple(item.config if isinstance(item, (Prior, Flow)) else item for item in value)
            if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                name = "*"
            default = inspect.Parameter.empty if name == "*" else signature.parameters[name].default
            if default is inspect.Parameter.empty or value is not default and value != default:
                config[name] = value
        named = made._replace(config=config, apply=_explaining(made, config))
        return named._replace(inner=Inner(made)) if isinstance(made, Prior) and made.config else named

    vars(wrapped)["is_factory"] = True
    register(make.__name__, make.__module__, wrapped)
    return wrapped
