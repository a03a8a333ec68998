"""Docstrings keep scikit-learn's own rules, and say the same as signatures and tables of limits."""

import inspect
import re
from numbers import Integral

import pytest
from sklearn.base import BaseEstimator

import robustlabels
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.parameters import Interval, StrOptions

numpydoc_validate = pytest.importorskip("numpydoc.validate").validate
docscrape = pytest.importorskip("numpydoc.docscrape")

PUBLIC = {name: getattr(robustlabels, name) for name in robustlabels.__all__}
CLASSES = {name: item for name, item in PUBLIC.items() if inspect.isclass(item)}
ESTIMATORS = {name: item for name, item in CLASSES.items() if issubclass(item, BaseEstimator)}
FUNCTIONS = [name for name, item in PUBLIC.items() if inspect.isfunction(item)]


def own_methods(cls):
    """Public methods and properties of a class that this package wrote."""
    for name, member in inspect.getmembers(cls):
        function = getattr(member, "fget", None) or member
        if not name.startswith("_") and (getattr(function, "__module__", None) or "").startswith("robustlabels"):
            yield name


def complaints(path, *, whole):
    """What scikit-learn's tests would complain of: numpydoc's errors less those that they ignore."""
    ignored = {"RT02", "GL01", "GL02"} | (set() if whole else {"EX01", "SA01", "ES01"})
    return [(code, text) for code, text in numpydoc_validate(path)["errors"] if code not in ignored]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_docstring_is_valid(name):
    assert complaints(f"robustlabels.{name}", whole=True) == []


@pytest.mark.parametrize("name", CLASSES)
def test_method_docstrings_are_valid(name):
    found = {method: complaints(f"robustlabels.{name}.{method}", whole=False) for method in own_methods(CLASSES[name])}
    assert {method: errors for method, errors in found.items() if errors} == {}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_docstring_is_valid(name):
    assert complaints(f"robustlabels.{name}", whole=False) == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_signature_docstring_and_limits_name_the_same_parameters(name):
    cls = ESTIMATORS[name]
    parameters = inspect.signature(cls.__init__).parameters.values()
    named = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    documented = [p.name for p in docscrape.ClassDoc(cls)["Parameters"]]
    assert [n for n in documented if not n.startswith("*")] == named
    assert set(cls._parameter_constraints) == set(named)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_documented_types_and_defaults_are_those_of_limits_and_signature(name):
    cls = ESTIMATORS[name]
    signature = inspect.signature(cls.__init__).parameters
    wrong = []
    for parameter in docscrape.ClassDoc(cls)["Parameters"]:
        if parameter.name.startswith("*"):
            continue
        kind, _, default = parameter.type.partition("default=")
        given = signature[parameter.name].default
        if given is not inspect.Parameter.empty and default.replace('"', "'") != repr(given):
            wrong.append(f"{parameter.name}: default {default} is documented, {given!r} is the signature's")
        long = re.search(r"\bstr\b", kind)  # a long list of options stands in the description
        quoted = set(re.findall(r'"([^"]*)"', " ".join([kind, *(parameter.desc if long else [])])))
        limits = cls._parameter_constraints[parameter.name]
        if limits == ["no_validation"]:
            continue  # an estimator, checked where it is used
        options = set().union(*(limit.options for limit in limits if isinstance(limit, StrOptions)))
        if options != quoted and not (long and not options):
            wrong.append(f"{parameter.name}: {sorted(quoted)} are documented, {sorted(options)} allowed")
        for limit in limits:
            word = None
            if limit is None:
                word = "None"
            elif isinstance(limit, Interval):
                word = "int" if limit.type is Integral else "float"
            elif limit == "boolean":
                word = "bool"
            if word is not None and not re.search(rf"\b{word}\b", kind):
                wrong.append(f"{parameter.name}: {word} is allowed, and {kind!r} does not say so")
        if "None" in kind and None not in limits and "random_state" not in limits:
            wrong.append(f"{parameter.name}: None is documented and not allowed")
    assert wrong == []


@pytest.mark.parametrize("name", [n for n, cls in ESTIMATORS.items() if issubclass(cls, BaseNoisyLabelClassifier)])
def test_help_shows_inherited_parameters(name):
    doc = CLASSES[name].__doc__
    for parameter in ("max_epochs", "module", "random_state", "**net_params"):
        assert re.search(rf"^{re.escape(parameter)} : ", doc, re.MULTILINE), parameter
