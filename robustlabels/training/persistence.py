"""One file that keeps a fitted estimator: tensors by safetensors, everything else as JSON. Loading runs no code from
it.

An estimator is written as its class, its parameters and its fitted attributes, and so are the estimators inside it: the
network of a detector, the steps of a pipeline, scikit-learn's own estimators as far as their attributes are arrays and
plain values. A network is written as the weights of its module and the memory of its objective; its class rebuilds
both.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from robustlabels.maths.influence_functions import ArrayState
from robustlabels.training.files import replace_file
from robustlabels.training.net import unwrap
from robustlabels.training.objective import innermost

__all__ = ["FORMAT", "SavableMixin", "load", "save"]

FORMAT = "robustlabels 2"

OTHER_WAYS = "joblib.dump or skops.io.dump keep it"


class SavableMixin:
    """A ``save`` method, for every estimator of the package."""

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator to one ``.safetensors`` file.

        The file holds weights and arrays as tensors, and parameters as JSON. Reading it with :func:`robustlabels.load`
        runs no code. It appears whole or not at all.

        Parameters
        ----------
        path : str or Path
            The file; an existing one is replaced.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError
            If a part cannot be kept without running code on load; pickle, joblib and skops can keep it.
        """
        save(self, path)


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator, or a pipeline of such, to one ``.safetensors`` file.

    The file holds weights and arrays as tensors, and parameters as JSON. Reading it with :func:`load` runs no code. It
    appears whole or not at all.

    Parameters
    ----------
    estimator : fitted estimator
        Any estimator of this package, or a scikit-learn Pipeline. Estimators of scikit-learn inside it are kept if
        their fitted attributes are arrays and plain values, as those of linear models and scalers are.
    path : str or Path
        The file; an existing one is replaced.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError
        If a part cannot be kept without running code on load, such as a decision tree or a lambda; the message names
        it. ``joblib.dump`` and ``skops.io.dump`` are the alternatives.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from robustlabels import KNNNoiseDetector, load, save
    >>> X, y = load_iris(return_X_y=True)
    >>> pipe = make_pipeline(StandardScaler(), KNNNoiseDetector()).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(pipe, pathlib.Path(folder) / "iris.safetensors")
    ...     again = load(pathlib.Path(folder) / "iris.safetensors")
    >>> bool((again[-1].noise_scores_ == pipe[-1].noise_scores_).all())
    True
    """
    check_is_fitted(estimator)
    writer = _Writer()
    content = writer.value(type(estimator).__name__, estimator)
    if writer.left_out:
        warnings.warn(
            f"{', '.join(sorted(writer.left_out))} cannot be kept without running code on load; the loaded estimator "
            "predicts the same, but has the defaults there.",
            stacklevel=3,
        )
    text = {"robustlabels": json.dumps({"format": FORMAT, "class": type(estimator).__name__, "content": content})}
    replace_file(Path(path), lambda partial: save_file(writer.tensors, str(partial), metadata=text))


def load(path: str | Path, *, module: Any = None, cls: type | None = None) -> Any:
    """Read an estimator that was saved.

    No code of the file is run: it names classes of this package, of scikit-learn and of NumPy, and holds arrays.

    Parameters
    ----------
    path : str or Path
        A file that :func:`save` or an estimator's ``save`` wrote.
    module : nn.Module class or instance, default=None
        The network, where it is not a preset: its code is not in the file.
    cls : type, default=None
        The estimator's class, where it is not one of this package.

    Returns
    -------
    estimator : fitted estimator
        On the CPU. It predicts as the saved one did.

    Raises
    ------
    ValueError
        For a file of another kind, a class that is not known here, or a missing ``module``.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import CrossEntropyClassifier, load
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = CrossEntropyClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(pathlib.Path(folder) / "iris.safetensors")
    ...     again = load(pathlib.Path(folder) / "iris.safetensors")
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("robustlabels", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is not a safetensors file: {error}") from error
    if meta is None or meta["format"] != FORMAT:
        raise ValueError(f"{str(path)!r} was not written by save(): it has no {FORMAT!r} header.")
    if cls is not None and cls.__name__ != meta["class"]:
        raise ValueError(
            f"{str(path)!r} holds a {meta['class']}, not a {cls.__name__}; pass load(path, cls=...) for it."
        )
    return _Reader(str(path), tensors, module, cls).value(meta["content"])


# --- write ------------------------------------------------------------------------------------------------------------


class _Writer:
    """Turns values into JSON, and collects the tensors that JSON only names."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.left_out: set[str] = set()

    def value(self, name: str, value: Any) -> Any:
        """Return the JSON form of a value; ``name`` is what an error calls it."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        for kinds, write in self._kinds():
            if isinstance(value, kinds):
                return write(name, value)
        raise TypeError(
            f"{name} is a {type(value).__name__}, which cannot be kept without running code on load; {OTHER_WAYS}."
        )

    def _kinds(self) -> list[tuple[Any, Callable[[str, Any], Any]]]:
        return [
            (torch.Tensor, lambda name, value: {"tensor": self.tensor(value)}),
            (np.ndarray, self.array),
            (np.generic, lambda name, value: {"array": value.tolist(), "dtype": value.dtype.str, "scalar": True}),
            (scipy.sparse.csr_matrix, self.sparse),
            (list, lambda name, value: [self.value(name, item) for item in value]),
            (dict, self.mapping),
            (np.random.RandomState, self.forgotten),
            (BaseEstimator, self.estimator),
            (tuple, self.tuple),
            (type, self.named),
            (type(save), self.named),
            (object, self.record),
        ]

    def tensor(self, value: torch.Tensor) -> str:
        """Store a tensor and return its name."""
        name = f"t{len(self.tensors)}"
        self.tensors[name] = value.detach().cpu().clone().contiguous()
        return name

    def array(self, name: str, value: np.ndarray) -> Any:
        if value.dtype.kind in "fiub" and value.dtype.isnative and value.dtype != np.longdouble:
            return {"numpy": self.tensor(torch.from_numpy(np.ascontiguousarray(value))), "shape": list(value.shape)}
        return {"array": [self.value(name, item) for item in value.tolist()], "dtype": value.dtype.str}

    def sparse(self, name: str, value: Any) -> Any:
        parts = {part: self.array(name, getattr(value, part)) for part in ("data", "indices", "indptr")}
        return {"csr": parts, "shape": list(value.shape)}

    def mapping(self, name: str, value: dict) -> Any:
        return {"dict": [[self.value(name, key), self.value(f"{name}[{key!r}]", item)] for key, item in value.items()]}

    def tuple(self, name: str, value: tuple) -> Any:
        if hasattr(value, "_fields"):
            return self.record(name, value)
        return {"tuple": [self.value(name, item) for item in value]}

    def forgotten(self, name: str, value: Any) -> Any:
        self.left_out.add(name.rpartition(".")[2])
        return None

    def named(self, name: str, value: Any) -> Any:
        """A class of torch.optim or scikit-learn, or a function of this package, by its name."""
        place = f"{value.__module__}:{value.__qualname__}"
        if _is_known(value.__module__) and _find(place) is value:
            return {"name": place}
        raise TypeError(f"{name} is {value!r}, whose code is not in the file; {OTHER_WAYS}.")

    def record(self, name: str, value: Any) -> Any:
        """A dataclass or named tuple of this package by its fields, or an object of arrays by its state."""
        kind = type(value)
        if kind.__module__.startswith("robustlabels.") and _has_array_state(kind):
            state = {key: self.value(f"{name}.{key}", item) for key, item in value.__getstate__().items()}
            return {"record": f"{kind.__module__}:{kind.__qualname__}", "state": state}
        if kind.__module__.startswith("robustlabels.") and _is_record(kind):
            fields = value._asdict() if hasattr(value, "_asdict") else _fields_of(value)
            return {
                "record": f"{kind.__module__}:{kind.__qualname__}",
                "fields": {key: self.value(f"{name}.{key}", item) for key, item in fields.items()},
            }
        raise TypeError(
            f"{name} is a {kind.__name__}, which cannot be kept without running code on load; {OTHER_WAYS}."
        )

    def estimator(self, name: str, value: Any) -> Any:
        """An estimator by its class, its parameters and its attributes; a network by its weights too."""
        cls = type(value)
        place = cls.__name__ if getattr(sys.modules["robustlabels"], cls.__name__, None) is cls else ""
        if not place and _is_known(cls.__module__):
            place = f"{cls.__module__}:{cls.__qualname__}"
        own = value.get_params(deep=False)
        written: dict[str, Any] = {"estimator": place or cls.__name__, "params": {}, "left_out": []}
        for key, item in own.items():
            try:
                written["params"][key] = self.value(f"{name}.{key}", item)
            except TypeError:
                if not hasattr(value, "_rebuild"):
                    raise
                # A network predicts without these (callbacks, an augmentation); its module is passed to load.
                written["left_out"].append(key)
                if key != "module":
                    self.left_out.add(key)
        hidden = {*own, "net_"}
        written["fitted"] = {
            key: self.value(f"{name}.{key}", item) for key, item in vars(value).items() if key not in hidden
        }
        if "net_" in vars(value):
            written["net"] = self.network(name, value)
        return written

    def network(self, name: str, value: Any) -> Any:
        net = value.net_
        # A wrapper's objective is not needed to predict: the file is the wrapped classifier's.
        parts = {"module": unwrap(net), "criterion": innermost(net.criterion_)}
        states = {
            part: {key: self.value(f"{name}.{key}", item) for key, item in module.state_dict().items()}
            for part, module in parts.items()
        }
        rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
        return {**states, "n_samples": len(value.noise_scores_), "history": [self.value(name, row) for row in rows]}


# --- read -------------------------------------------------------------------------------------------------------------


class _Reader(NamedTuple):
    """Turns the JSON of a file back into values."""

    path: str
    tensors: dict[str, torch.Tensor]
    module: Any
    cls: type | None

    def value(self, value: Any) -> Any:
        """Return what :meth:`_Writer.value` was given."""
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, dict):
            return value
        for kind in ("tensor", "numpy", "array", "csr", "tuple", "dict", "name", "record", "estimator"):
            if kind in value:
                return getattr(self, f"read_{kind}")(value)
        raise ValueError(f"{self.path!r} holds a value of an unknown kind: {', '.join(value)}.")

    def read_tensor(self, value: Any) -> torch.Tensor:
        return self.tensors[value["tensor"]]

    def read_numpy(self, value: Any) -> np.ndarray:
        return self.tensors[value["numpy"]].numpy().reshape(value["shape"])

    def read_array(self, value: Any) -> Any:
        dtype = np.dtype(object) if value["dtype"] == "|O" else np.dtype(value["dtype"])
        if value.get("scalar"):
            return dtype.type(value["array"])
        return np.array([self.value(item) for item in value["array"]], dtype=dtype)

    def read_csr(self, value: Any) -> Any:
        data, indices, indptr = (self.value(value["csr"][part]) for part in ("data", "indices", "indptr"))
        return scipy.sparse.csr_matrix((data, indices, indptr), shape=value["shape"])

    def read_tuple(self, value: Any) -> tuple:
        return tuple(self.value(item) for item in value["tuple"])

    def read_dict(self, value: Any) -> dict:
        return {self.value(key): self.value(item) for key, item in value["dict"]}

    def read_name(self, value: Any) -> Any:
        module = value["name"].partition(":")[0]
        if not _is_known(module):
            raise ValueError(
                f"{self.path!r} names {value['name']!r}, which is not of this package, torch or scikit-learn."
            )
        return _find(value["name"])

    def read_record(self, value: Any) -> Any:
        kind = self.read_name({"name": value["record"]})
        ours = isinstance(kind, type) and kind.__module__.startswith("robustlabels.")
        if not ours or not (_has_array_state(kind) or _is_record(kind)):
            raise ValueError(f"{self.path!r} names {value['record']!r}, which is not a record of this package.")
        if "state" in value:
            made = kind.__new__(kind)
            made.__setstate__({key: self.value(item) for key, item in value["state"].items()})
            return made
        return kind(**{key: self.value(item) for key, item in value["fields"].items()})

    def read_estimator(self, value: Any) -> Any:
        estimator = self.find_class(value["estimator"])(**{k: self.value(v) for k, v in value["params"].items()})
        for key, item in value["fitted"].items():
            setattr(estimator, key, self.value(item))
        if "module" in value["left_out"]:
            if self.module is None:
                raise ValueError(f"{self.path!r} holds weights of your own module; pass load(path, module=...).")
            estimator.module = self.module
        if "net" in value:
            self.read_network(estimator, value["net"])
        return estimator

    def read_network(self, estimator: Any, net: Any) -> None:
        """Rebuild a classifier's network and fill in its weights, its memory and its history."""
        estimator.device = "cpu"
        estimator._rebuild(net["n_samples"])
        for part, module in ("module", unwrap(estimator.net_)), ("criterion", estimator.net_.criterion_):
            module.load_state_dict({key: self.value(item) for key, item in net[part].items()})
        for row in net["history"]:
            estimator.net_.history.new_epoch()
            for key, item in self.value(row).items():
                estimator.net_.history.record(key, item)

    def find_class(self, name: str) -> Any:
        """The class of an estimator: one of this package, one of scikit-learn, or the one that was passed."""
        if self.cls is not None and self.cls.__name__ == name:
            return self.cls
        found = self.read_name({"name": name}) if ":" in name else getattr(sys.modules["robustlabels"], name, None)
        if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
            raise ValueError(
                f"{self.path!r} holds a {name}, which is not a class of this package; pass load(path, cls={name})."
            )
        return found


def _is_known(module: str) -> bool:
    """Whether names of this module may stand in a file."""
    return module.partition(".")[0] in ("robustlabels", "sklearn") or module.startswith("torch.optim")


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _is_record(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _has_array_state(kind: type) -> bool:
    return issubclass(kind, ArrayState)


def _fields_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
