"""Parameters of classifiers: routing to skorch, limits, optimizers, schedules and data-dependent defaults."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
import torch
from sklearn.utils._param_validation import (  # noqa: F401 - the modules with tables import these from here
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    make_constraint,
)

from robustlabels import modules

Settings = TypeVar("Settings")


# --- limits -----------------------------------------------------------------------------------------------------------


class ConstrainedParametersMixin:
    """Parameters whose limits stand in one table, and a docstring that lists all of them.

    A class states ``_parameter_constraints`` for the parameters that its own constructor adds, in scikit-learn's form:
    a list of alternatives for each name, such as ``[Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})]``. Its
    docstring documents the same parameters. Table and docstring are completed from the base classes when the class is
    created, so that neither is ever copied.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls._gather_signature()  # first, since the docstring follows the order of the signature
        inherited: dict[str, list[Any]] = {}
        for klass in reversed(cls.__mro__[1:]):
            inherited |= vars(klass).get("_parameter_constraints", {})
        cls._parameter_constraints = {**inherited, **vars(cls).get("_parameter_constraints", {})}
        cls.__doc__ = complete_docstring(cls)

    @classmethod
    def _gather_signature(cls) -> None:
        """Put the constructor's signature together from all classes in the chain."""
        gathered: dict[str, inspect.Parameter] = {}
        own: Mapping[str, inspect.Parameter] = {}
        for klass in cls.__mro__:
            if issubclass(klass, ConstrainedParametersMixin) and "__init__" in vars(klass):
                own = inspect.signature(vars(klass)["__init__"]).parameters
                for parameter in own.values():
                    gathered.setdefault(parameter.name, parameter)
        # A last ``**params`` that no base class resolves takes skorch's parameters; any other one is resolved by now.
        variable = [p for p in own.values() if p.kind is p.VAR_KEYWORD]
        named = [p for p in gathered.values() if p.kind is not p.VAR_KEYWORD]
        plain = [p for p in named if p.kind is not p.KEYWORD_ONLY]
        keyword_only = [p for p in named if p.kind is p.KEYWORD_ONLY]
        signature = inspect.Signature([*plain, *keyword_only, *[p.replace(name="net_params") for p in variable]])
        cls.__init__.__signature__ = signature  # type: ignore[attr-defined]

    def _check_parameters(self) -> None:
        """Raise for values out of limits; a class extends it by what involves several parameters."""
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name, allowed in self._parameter_constraints.items():
            if allowed == ["no_validation"]:
                continue  # an estimator, which is checked where it is used
            if name in params and not any(_satisfies(params[name], constraint) for constraint in allowed):
                described = [words for constraint in allowed for words in _described(constraint)]
                choices = ", ".join(described[:-1]) + " or " + described[-1] if len(described) > 1 else described[0]
                raise InvalidParameterError(f"{name} must be {choices}, got {params[name]!r}.")


def _satisfies(value: Any, constraint: Any) -> bool:
    if isinstance(constraint, Interval) and isinstance(value, bool):
        return False  # Python takes True for the number 1; a parameter that is a number does not mean that.
    return bool(make_constraint(constraint).is_satisfied_by(value))


def _described(constraint: Any) -> list[str]:
    """A constraint in words, one entry for each alternative.

    scikit-learn's own description lists options in an order that changes from run to run.
    """
    if isinstance(constraint, Interval):
        left = "[" if constraint.closed in ("left", "both") else "("
        right = "]" if constraint.closed in ("right", "both") and constraint.right is not None else ")"
        low = "-inf" if constraint.left is None else f"{constraint.left:g}"
        high = "inf" if constraint.right is None else f"{constraint.right:g}"
        return [f"{'an integer' if constraint.type is Integral else 'a number'} in {left}{low}, {high}{right}"]
    if isinstance(constraint, Options):
        return [repr(option) for option in sorted(constraint.options)]
    if constraint is callable:
        return ["a callable"]
    if isinstance(constraint, type):
        return [{"type": "a class", "str": "a string"}.get(constraint.__name__, f"a {constraint.__name__}")]
    return [{"boolean": "True or False", None: "None"}.get(constraint) or str(make_constraint(constraint))]


def complete_docstring(cls: Any) -> str | None:
    """A class's docstring with the parameters of its base classes added to its own, in the order of the signature.

    An entry in the class's own docstring wins over the base class's. An entry for ``**params`` is replaced by what it
    stands for.

    Parameters
    ----------
    cls : type
        Its base classes' docstrings are complete.

    Returns
    -------
    doc : str or None
        None where Python runs without docstrings.
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
    before += [""] if before[-1:] != [""] else []
    return "\n".join([*before, "Parameters", "----------", *entries, *([""] if after else []), *after]).rstrip() + "\n"


def _split_parameters(doc: str) -> tuple[list[str], dict[str, str], list[str]]:
    """The lines before a docstring's parameters, the entry of each parameter, and the lines after them."""
    lines = doc.splitlines()
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
    """A constructor that takes the settings of the paper.

    A class states ``_published``, the parameters of each setting by name, and ``_published_common``, what all share.
    """

    _published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    _published_common: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def from_paper(cls, setting: str, **params: Any) -> Self:
        """Construct the estimator with published settings: network, optimizer, schedule and the method's own constants.

        Parameters
        ----------
        setting : str
            One of the settings that the class's Notes list. A wrong name raises an error that lists them too.
        **params : dict
            Parameters that override the published ones.

        Returns
        -------
        estimator
            Not fitted.

        Raises
        ------
        ValueError
            If there is no such setting.
        """
        if setting not in cls._published:
            raise ValueError(f"setting must be one of {', '.join(map(repr, cls._published))}, got {setting!r}.")
        return cls(**{**cls._published_common, **cls._published[setting], **params})


def settings_of(kind: type[Settings], estimator: Any, **resolved: Any) -> Settings:
    """Collect the settings of an objective from an estimator's parameters.

    Parameters
    ----------
    kind : dataclass
        The settings of the objective.
    estimator : estimator
        Parameters with the names of the fields are read from it.
    **resolved : dict
        Values that replace parameters, such as what "auto" stands for.

    Returns
    -------
    settings : instance of ``kind``

    Examples
    --------
    >>> from robustlabels import MOITClassifier
    >>> from robustlabels.methods.moit import MOITSettings
    >>> settings_of(MOITSettings, MOITClassifier(temperature=0.2), memory_size=0, n_neighbors=5).temperature
    0.2
    """
    names = [field.name for field in dataclasses.fields(cast(Any, kind))]
    return kind(**{name: resolved[name] if name in resolved else getattr(estimator, name) for name in names})


# --- routing ----------------------------------------------------------------------------------------------------------


class RoutedParametersMixin(ConstrainedParametersMixin):
    """Flat skorch parameters next to a method's own: ``module__width=64``, ``optimizer__weight_decay=1e-4``.

    A class's ``__init__`` names its own parameters and passes the rest on as ``**params``; the signature that
    scikit-learn and ``help`` see is put together here from all classes in the chain, so that a default is written once.
    Routed parameters are attributes like any other, and exist only where they were given.
    """

    _prefixes = ("module", "optimizer", "callbacks", "iterator_train", "compile")

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
        """Get the parameters of this estimator, including routed ones.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of nested estimators.

        Returns
        -------
        params : dict
            Values by name.
        """
        return {**super().get_params(deep=deep), **self._routed_params()}  # type: ignore[misc]

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including routed ones.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            For a name that is neither a parameter nor routed; it suggests the closest.
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
        """Validate routed parameter names at fit time; scikit-learn forbids validation in ``__init__``."""
        for name in self._routed_params():
            if not self._is_routed(name):
                raise TypeError(self._unknown(name))

    def _params_for(self, prefix: str) -> dict[str, Any]:
        start = prefix + "__"
        return {k.removeprefix(start): v for k, v in self._routed_params().items() if k.startswith(start)}


def check_number(
    name: str, value: Any, low: float, high: float = math.inf, *, closed: str = "both", integer: bool = False
) -> None:
    """Raise unless ``value`` is a number in the interval.

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
    """Loshchilov and Hutter's SGDR, restarted every 10 epochs, from 1 down to 1/20 (ELR's shipped configuration)."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (epoch % period) / period))


def _one_cycle(epoch: int, n_epochs: int, peak: float = 0.25) -> float:
    """Up in the first quarter, down in the others, each on a line (Smith and Topin's super-convergence)."""
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
    """N / 16, at least 16 and at most 128.

    Examples
    --------
    >>> default_batch_size(100), default_batch_size(1000), default_batch_size(50_000)
    (16, 62, 128)
    """
    return int(np.clip(n // 16, 16, 128))


def default_max_epochs(n: int, batch_size: int) -> int:
    """At least 50 epochs and at least 600 updates.

    Examples
    --------
    >>> default_max_epochs(100, 16), default_max_epochs(50_000, 128)
    (86, 50)
    """
    return max(MIN_EPOCHS, math.ceil(MIN_UPDATES / math.ceil(n / batch_size)))
