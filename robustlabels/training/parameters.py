"""Parameters of classifiers: routing to skorch, limits, optimizers, schedules and data-dependent defaults."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions, make_constraint

from robustlabels import modules

# --- limits -----------------------------------------------------------------------------------------------------------


class ConstrainedParametersMixin:
    """Mixin that checks parameters against one table of limits and completes the docstring of a class.

    A class defines ``_parameter_constraints`` for the parameters that its own constructor adds, in scikit-learn's form:
    a list of alternatives for each name, such as ``[Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})]``. Its
    docstring documents the same parameters. When the class is created, both are completed from the base classes, so
    that no entry is ever copied.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited: dict[str, list[Any]] = {}
        for klass in reversed(cls.__mro__[1:]):
            inherited |= vars(klass).get("_parameter_constraints", {})
        cls._parameter_constraints = {**inherited, **vars(cls).get("_parameter_constraints", {})}
        cls.__doc__ = complete_docstring(cls)

    def _check_parameters(self) -> None:
        """Raise for values that are out of limits; a class extends this by checks that involve several parameters.

        Raises
        ------
        InvalidParameterError
            If no alternative allows the value. It is a ValueError and a TypeError.
        """
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name, allowed in self._parameter_constraints.items():
            if name in params and not any(_satisfies(params[name], constraint) for constraint in allowed):
                described = [_described(constraint) for constraint in allowed]
                choices = ", ".join(described[:-1]) + " or " + described[-1] if len(described) > 1 else described[0]
                raise InvalidParameterError(f"{name} must be {choices}, got {params[name]!r}.")


def _satisfies(value: Any, constraint: Any) -> bool:
    if isinstance(constraint, Interval) and isinstance(value, bool):
        return False  # In Python, True is the number 1, but as the value of a number it is almost certainly a mistake.
    return bool(make_constraint(constraint).is_satisfied_by(value))


def _described(constraint: Any) -> str:
    """Return a constraint in words."""
    # scikit-learn's own texts list sets of names in an order that changes from run to run.
    if isinstance(constraint, Interval):
        left = "[" if constraint.closed in ("left", "both") else "("
        right = "]" if constraint.closed in ("right", "both") and constraint.right is not None else ")"
        low = "-inf" if constraint.left is None else f"{constraint.left:g}"
        high = "inf" if constraint.right is None else f"{constraint.right:g}"
        return f"{'an integer' if constraint.type is Integral else 'a number'} in {left}{low}, {high}{right}"
    if isinstance(constraint, StrOptions):
        return ", ".join(map(repr, sorted(constraint.options)))
    if constraint is callable:
        return "a callable"
    if isinstance(constraint, type):
        return {"type": "a class", "str": "a string"}.get(constraint.__name__, f"a {constraint.__name__}")
    return {"boolean": "True or False", None: "None"}.get(constraint) or str(make_constraint(constraint))


def complete_docstring(cls: Any) -> str | None:
    """Return the docstring of a class with the parameters of its base classes, in the order of the signature.

    If the class and a base class document the same parameter, the entry of the class is used. An entry for ``**params``
    is replaced by the entries of the parameters that it contains.

    Parameters
    ----------
    cls : type
        A class whose base classes have complete docstrings.

    Returns
    -------
    doc : str or None
        None if the class has no docstring, as when Python runs with ``-OO``.
    """
    doc = inspect.cleandoc(cls.__doc__) if vars(cls).get("__doc__") else None
    if doc is None:
        return None
    before, own, after = _split_parameters(doc)
    known: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        if issubclass(base, ConstrainedParametersMixin) and vars(base).get("__doc__"):
            known |= _split_parameters(inspect.cleandoc(vars(base)["__doc__"]))[1]
    known |= own
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    entries = []
    for parameter in parameters:
        name = f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
        if name in known:
            entries.append(known[name])
    if not entries:
        return doc
    return "\n".join([*before, "Parameters", "----------", *entries, *([""] if after else []), *after]).rstrip() + "\n"


def _split_parameters(doc: str) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the lines before the parameters of a docstring, the entry of each parameter, and the lines after them."""
    lines = doc.splitlines()
    # Indices of the lines of dashes under the sections' titles.
    heads = [i for i in range(1, len(lines)) if lines[i] and set(lines[i]) == {"-"} and lines[i - 1].strip()]
    start = next((i for i in heads if lines[i - 1] == "Parameters"), None)
    if start is None:
        end = heads[0] - 1 if heads else len(lines)
        return lines[:end], {}, lines[end:]
    end = next((i - 1 for i in heads if i > start), len(lines))
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines[start + 1 : end]:
        if line and not line.startswith(" "):
            names = line.partition(" : ")[0]
            current = entries.setdefault(names, [])
        current.append(line)
    return lines[: start - 1], {name: "\n".join(entry).rstrip() for name, entry in entries.items()}, lines[end:]


class PublishedSettingsMixin:
    """Mixin that adds a constructor with the settings of the paper.

    A class defines ``_published``, the parameters of each setting by name, and ``_published_common``, the parameters
    that all settings share.
    """

    _published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    _published_common: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def from_paper(cls, setting: str, **params: Any) -> Self:
        """Construct the estimator with published settings: network, optimizer, schedule and the method's own constants.

        Parameters
        ----------
        setting : str
            One of the settings that the Notes of the class list.
        **params : dict
            Parameters that override the published ones.

        Returns
        -------
        estimator
            An estimator that is not fitted.

        Raises
        ------
        ValueError
            If there is no such setting; the message lists the settings.
        """
        if setting not in cls._published:
            raise ValueError(f"setting must be one of {', '.join(map(repr, cls._published))}, got {setting!r}.")
        return cls(**{**cls._published_common, **cls._published[setting], **params})


# --- routing ----------------------------------------------------------------------------------------------------------


class RoutedParametersMixin(ConstrainedParametersMixin):
    """Mixin that routes parameters to parts of the net: ``module__width=64``, ``optimizer__weight_decay=1e-4``.

    The ``__init__`` of a class names its own parameters and passes the others on as ``**params``. The signature for
    scikit-learn and ``help`` is gathered from all classes in the method resolution order, so that each default is
    written once. Routed parameters are ordinary attributes, which exist only if they were given.
    """

    _prefixes = ("module", "optimizer", "callbacks", "iterator_train", "compile")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "__init__" in vars(cls):
            cls._gather_signature()
        super().__init_subclass__(**kwargs)  # completes the docstring, in the order of the signature

    @classmethod
    def _gather_signature(cls) -> None:
        """Set the signature of the constructor to the parameters of all classes in the method resolution order."""
        gathered: dict[str, inspect.Parameter] = {}
        for klass in cls.__mro__:
            if issubclass(klass, RoutedParametersMixin) and "__init__" in vars(klass):
                for parameter in inspect.signature(vars(klass)["__init__"]).parameters.values():
                    gathered.setdefault(parameter.name, parameter)
        # The catch-all parameter is shown as net_params, which tells what it takes.
        variable = [p for p in gathered.values() if p.kind is p.VAR_KEYWORD][-1:]
        named = [p for p in gathered.values() if p.kind is not p.VAR_KEYWORD]
        plain = [p for p in named if p.kind is not p.KEYWORD_ONLY]
        keyword_only = [p for p in named if p.kind is p.KEYWORD_ONLY]
        signature = inspect.Signature([*plain, *keyword_only, *[p.replace(name="net_params") for p in variable]])
        cls.__init__.__signature__ = signature  # type: ignore[attr-defined]

    @classmethod
    def _own_names(cls) -> list[str]:
        return sorted(
            name for name, p in inspect.signature(cls.__init__).parameters.items()
            if name != "self" and p.kind is not p.VAR_KEYWORD
        )  # fmt: skip

    def _routed_params(self) -> dict[str, Any]:
        own = set(self._own_names())
        return {k: v for k, v in vars(self).items() if k not in own and not k.startswith("_") and not k.endswith("_")}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of this estimator, including routed ones.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of nested estimators.

        Returns
        -------
        params : dict
        """
        return {**super().get_params(deep=deep), **self._routed_params()}  # type: ignore[misc]

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including routed ones.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name is neither a parameter nor routed; the message suggests the closest one.
        """
        routed = {k: v for k, v in params.items() if self._is_routed(k) or k == "net_params"}
        own = {k: v for k, v in params.items() if k not in routed}
        known = set(self._own_names())
        for name in own:
            if name.partition("__")[0] not in known:
                raise ValueError(self._unknown(name))
        super().set_params(**own)  # type: ignore[misc]
        self.__dict__.update(routed)
        return self

    def _is_routed(self, name: str) -> bool:
        prefix, separator, rest = name.partition("__")
        return bool(separator and rest) and prefix in self._prefixes

    def _unknown(self, name: str) -> str:
        own = self._own_names()
        rest = name.partition("__")[2]
        close = modules.closest(name, [f"{p}__{rest}" for p in self._prefixes] if rest else own)
        valid = ", ".join([*own, *(f"{p}__…" for p in self._prefixes)])
        return f"Invalid parameter {name!r} for {type(self).__name__}{close} Valid parameters are: {valid}."

    def _check_routed(self) -> None:
        """Validate the names of routed parameters at fit time; scikit-learn forbids validation in ``__init__``."""
        for name in self._routed_params():
            if not self._is_routed(name):
                raise TypeError(self._unknown(name))

    def _params_for(self, prefix: str) -> dict[str, Any]:
        start = prefix + "__"
        return {k.removeprefix(start): v for k, v in self._routed_params().items() if k.startswith(start)}


def check_number(
    name: str, value: Any, low: float, high: float = math.inf, *, closed: str = "both", integer: bool = False
) -> None:
    """Raise ValueError unless ``value`` is a number in the interval from ``low`` to ``high``.

    ``closed`` is "both", "left" or "right" and tells which ends belong to the interval.

    Examples
    --------
    >>> check_number("beta", 1.2, 0, 1, closed="left")
    Traceback (most recent call last):
        ...
    ValueError: beta must be a number in [0, 1), got 1.2.
    """
    kind = Integral if integer else Real
    number = isinstance(value, kind) and not isinstance(value, bool)
    above = number and (value >= low if closed in ("both", "left") else value > low)
    below = number and (value <= high if closed in ("both", "right") else value < high)
    if not (above and below):
        left = "[" if closed in ("both", "left") else "("
        right = "]" if closed in ("both", "right") and high < math.inf else ")"
        what = "an integer" if integer else "a number"
        raise ValueError(f"{name} must be {what} in {left}{low:g}, {high:g}{right}, got {value!r}.")


def _constant(epoch: int, n_epochs: int) -> float:
    return 1.0


def _cosine(epoch: int, n_epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * epoch / n_epochs))


def _cosine_restarts(epoch: int, n_epochs: int, period: int = 10, floor: float = 0.05) -> float:
    """Follow SGDR (Loshchilov and Hutter) from 1 down to 1/20 every 10 epochs, as in ELR's published configuration."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (epoch % period) / period))


def _one_cycle(epoch: int, n_epochs: int, peak: float = 0.25) -> float:
    """Rise linearly in the first quarter and fall linearly in the others (Smith and Topin's super-convergence)."""
    t = (epoch + 0.5) / n_epochs
    return min(t / peak, (1 - t) / (1 - peak))


def _multistep(epoch: int, n_epochs: int, *, steps: Mapping[int, float]) -> float:
    return math.prod(factor for start, factor in steps.items() if epoch >= start)


LR_SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "one_cycle": _one_cycle,
}


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-3, "fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
}


MIN_EPOCHS, MIN_UPDATES = 50, 600


def default_batch_size(n: int) -> int:
    """Return n / 16 rounded down, but at least 16 and at most 128.

    Examples
    --------
    >>> default_batch_size(100), default_batch_size(1000), default_batch_size(50_000)
    (16, 62, 128)
    """
    return int(np.clip(n // 16, 16, 128))


def default_max_epochs(n: int, batch_size: int) -> int:
    """Return 50 epochs, or as many as 600 updates take if these are more.

    Examples
    --------
    >>> default_max_epochs(100, 16), default_max_epochs(50_000, 128)
    (86, 50)
    """
    return max(MIN_EPOCHS, math.ceil(MIN_UPDATES / math.ceil(n / batch_size)))
