"""One file that keeps a fitted estimator: tensors by safetensors, everything else as JSON; reading it runs no code."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from robustlabels.training.files import replace_file
from robustlabels.training.net import unwrap
from robustlabels.training.objective import innermost

FORMAT = "robustlabels 1"


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator; the file appears whole or not at all.

    Parameters
    ----------
    estimator : fitted classifier
    path : str or Path
    """
    tensors: dict[str, torch.Tensor] = {}
    fitted: dict[str, Any] = {}
    for name, value in estimator._fitted_state().items():
        if name == "net_":
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            tensors[f"fitted.{name}"] = torch.from_numpy(np.ascontiguousarray(value))
        else:
            fitted[name] = _to_json(name, value)
    extra = {}
    objective = innermost(estimator.net_.criterion_)  # without a plug: the file is the host's
    for part, module in (("module", unwrap(estimator.net_)), ("criterion", objective)):
        for name, value in module.state_dict().items():
            if isinstance(value, torch.Tensor):
                tensors[f"{part}.{name}"] = value.detach().cpu().clone().contiguous()
            elif isinstance(value, dict) and value:  # a module's extra state: tables outside its buffers
                tensors.update({f"{part}.{name}/{key}": table.clone().contiguous() for key, table in value.items()})
            else:
                extra[f"{part}.{name}"] = value
    params, left_out = {}, []
    for name, value in estimator.get_params().items():
        try:
            params[name] = _to_json(name, _name_of_optimizer(value))
        except TypeError:
            left_out.append(name)
    if set(left_out) - {"module"}:
        warnings.warn(
            f"{', '.join(sorted(set(left_out) - {'module'}))} cannot be kept without running code on load; the loaded "
            "estimator predicts the same, but has the defaults there.",
            stacklevel=3,
        )
    meta = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "params": params,
        "left_out": left_out,
        "fitted": fitted,
        "extra": extra,
        "n_samples": len(estimator.noise_scores_),
        "history": [{k: v for k, v in row.items() if k != "batches"} for row in estimator.net_.history],
    }
    text = {"robustlabels": json.dumps(meta)}
    replace_file(Path(path), lambda partial: save_file(tensors, str(partial), metadata=text))


def load(path: str | Path, *, module: Any = None, cls: type | None = None) -> Any:
    """Read what :meth:`~robustlabels.training.base.BaseNoisyLabelClassifier.save` wrote.

    Parameters
    ----------
    path : str or Path
    module : nn.Module class or instance, default=None
        The network, where it is not a preset: its code is not in the file.
    cls : type, default=None
        The estimator's class, where it is not one of this package.

    Returns
    -------
    estimator : fitted classifier
        On the CPU; predicts as the saved one did.

    Raises
    ------
    ValueError
        For a file of another kind, a class unknown here, or a missing ``module``.

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
        raise ValueError(f"{str(path)!r} was not written by save(): no {FORMAT!r} header.")
    estimator = _class(meta["class"], cls)(**{k: _from_json(v) for k, v in meta["params"].items()})
    if "module" in meta["left_out"]:
        if module is None:
            raise ValueError(f"{str(path)!r} holds weights of a module of your own; pass load(path, module=...).")
        estimator.module = module
    for name, value in meta["fitted"].items():
        setattr(estimator, name, _from_json(value))
    states: dict[str, dict[str, Any]] = {"module": {}, "criterion": {}}
    for name, value in {**tensors, **meta["extra"]}.items():
        part, _, key = name.partition(".")
        if part == "fitted":
            setattr(estimator, key, value.numpy())
        elif "/" in key:
            key, _, table = key.partition("/")
            states[part].setdefault(key, {})[table] = value
        else:
            states[part][key] = value
    estimator.device = "cpu"
    estimator._rebuild(meta["n_samples"])
    unwrap(estimator.net_).load_state_dict(states["module"])
    estimator.net_.criterion_.load_state_dict(states["criterion"])
    for row in meta["history"]:
        estimator.net_.history.new_epoch()
        for key, value in row.items():
            estimator.net_.history.record(key, value)
    return estimator


def _class(name: str, cls: type | None) -> type:
    found: Any = getattr(sys.modules["robustlabels"], name, None) if cls is None else cls
    if getattr(found, "__name__", None) != name:
        raise ValueError(f"the file holds a {name}, which is not a class of this package; pass load(path, cls={name}).")
    return found


def _name_of_optimizer(value: Any) -> Any:
    if isinstance(value, type) and value in vars(torch.optim).values():
        return {"torch.optim": value.__name__}
    return value


def _to_json(name: str, value: Any) -> Any:
    """A JSON form of labels, shapes and parameters that :func:`_from_json` turns back into the same thing."""
    if isinstance(value, np.ndarray):
        return {"array": [_to_json(name, v) for v in value.tolist()], "dtype": value.dtype.str}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(name, v) for v in value]}
    if isinstance(value, list):
        return [_to_json(name, v) for v in value]
    if isinstance(value, dict) and all(isinstance(k, (int, str)) for k in value):
        return {"dict": [[k, _to_json(name, v)] for k, v in value.items()]} if "torch.optim" not in value else value
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name} holds a {type(value).__name__}, which JSON cannot keep; use pickle or joblib instead.")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        dtype = np.dtype(object) if value["dtype"] == "|O" else np.dtype(value["dtype"])
        return np.array([_from_json(v) for v in value["array"]], dtype=dtype)
    if "tuple" in value:
        return tuple(_from_json(v) for v in value["tuple"])
    if "torch.optim" in value:
        return getattr(torch.optim, value["torch.optim"])
    return {k: _from_json(v) for k, v in value["dict"]}
