"""Priors of your own in the programs, named as module:function on the command line."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp

import vaepriors_jax as vp


def load_function(name: str) -> Callable[..., Any]:
    """Imports the function that a name such as `my_module:my_prior` stands for.

    Raises:
        ValueError: there is no such module, it is one of Python's own, or it has no such function.
    """
    module_name, _, function_name = name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"Expected a module of your own for the prior {name!r}; {module_name!r} is one of Python's.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise ValueError(
            f"Expected a module {module_name!r} that can be imported for the prior {name!r}; got "
            f"{type(error).__name__}: {error}. Run from the folder that holds it, or add that to PYTHONPATH."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        got = "nothing of that name" if function is None else type(function).__name__
        raise ValueError(
            f"Expected a function {function_name!r} in the module {module_name!r}, which makes a prior; got {got}."
        )
    return function


def make_user_prior(name: str, known: Mapping[str, Any]) -> vp.Prior:
    """Makes the prior that a name such as `my_module:my_prior` stands for.

    The function gets those of the known sizes that it asks for: `dim` where it names it, and each other parameter that
    has no default.

    Args:
        name: module:function.
        known: sizes by the names of parameters; None where the data have no such size.

    Raises:
        ValueError: no such function, one that asks for something else, one that makes no prior, or one whose prior
            needs a package that is not installed.
    """
    function = load_function(name)
    parameters = inspect.signature(function).parameters.values()
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY))
    asked = [p.name for p in named if p.name == "dim" or p.default is p.empty]
    if unknown := [parameter_name for parameter_name in asked if parameter_name not in known]:
        raise ValueError(
            f"Expected {name} to ask for {', '.join(known)} alone; it asks for {', '.join(unknown)}. Give "
            f"{'it' if len(unknown) == 1 else 'them'} a default."
        )
    if lacking := [parameter_name for parameter_name in asked if known[parameter_name] is None]:
        raise ValueError(f"Expected data with {', '.join(lacking)}, which {name} asks for; these have none.")
    arguments = {parameter_name: known[parameter_name] for parameter_name in asked}
    prior = function(**arguments)
    if not isinstance(prior, vp.Prior):
        raise ValueError(f"Expected {name} to return a `vp.Prior`; got {type(prior).__name__}.")
    try:
        check_dim(name, prior, known)
    except ImportError as error:  # of an extra that the prior needs
        raise ValueError(f"The prior {name} cannot be used. {error}") from error
    # Priors are compared by their configuration, so that one without any would be taken for another.
    return prior if prior.config else vp.factory(function)(**arguments)


def check_dim(name: str, prior: vp.Prior, known: Mapping[str, Any]) -> None:
    """Raises ValueError unless a prior is over vectors of the known `dim`."""
    dim = known["dim"]

    def encode(x: jax.Array, **labels: Any) -> distrax.Distribution:
        del x, labels
        return vp.normal_diag(jnp.zeros(dim), jnp.ones(dim))

    def sample(key: jax.Array) -> jax.Array:
        params, x = prior.init(key), jnp.zeros((2, *known["input_shape"]))
        state = prior.init_state(params=params, encode=encode, x=x) if prior.init_state else {}
        return prior.apply(params, encode=encode, y=0, **state).sample(seed=key)

    shape = jax.eval_shape(sample, jax.random.key(0)).shape
    if shape != (dim,):
        raise ValueError(f"Expected {name} to be a prior over vectors of shape {(dim,)} (--latent-dim); got {shape}.")
