# SPDX-License-Identifier: Apache-2.0
"""What the counts of a unit cost on a family, fitted to units that were measured.

A sum of counts with coefficients that are not negative, with the least relative errors; times what
units of the same class cost more or less than that. Before there are rows, a LUT counts as one.
"""

import collections
import math
import statistics

import numpy as np
from scipy.optimize import nnls

from .fpga.cover import COUNTS, PATH
from .hw import catalogue

__all__ = ["LEAST", "fit_fmax", "fit_lut4", "kind_of"]

LEAST = 5  # units, to fit anything
STEPS, FLOOR = 12, 0.05  # of the reweighting, towards least absolute relative errors
TRUST = 0.4  # in the coefficients below, as a share of the weight of all rows
# Coefficients before there is any row, up to a factor.
LUT4 = {"lut": 1, "full": 1, "site": 1, "product": 1, "one": 1}
PERIOD = {"path_lut": 1, "path_site": 0.05, "path_chain": 1, "path_product": 5, "path_memory": 2,
          "one": 1, "size": 0.1}  # size: more logic, longer wires


def kind_of(unit):
    """Class of a row's unit, by name."""
    return catalogue.get(unit).unit.__name__ if unit in catalogue.names() else "PEArray"


def fit_lut4(rows):
    """A function of ``(counts, class)`` that gives LUTs.

    Parameters
    ----------
    rows : list of dict
        Of the table of the estimator, of one family, with or without DSP blocks.
    """
    predict = _fit(rows, LUT4, [int(row["lut4"]) for row in rows])
    return lambda counts, kind: max(1.0, predict(counts, kind))


def fit_fmax(rows):
    """Likewise, MHz."""
    predict = _fit(rows, PERIOD, [1000 / float(row["fmax_mhz"]) for row in rows])
    return lambda counts, kind: 1000 / predict(counts, kind)


def _features(counts, names):
    numbers = {name: int(counts[name]) for name in (*COUNTS, *PATH)}
    numbers["one"] = 1
    numbers["size"] = math.log2(1 + sum(numbers[name] for name in ("lut", "full", "site")))
    return [numbers[name] for name in names]


def _fit(rows, names, targets):
    x = np.array([_features(row, names) for row in rows], float)
    y = np.array(targets, float)
    scale = np.maximum(y, 1)
    x, y, prior = x / scale[:, None], y / scale, np.array(list(names.values()), float)
    prior *= np.median(y / (x @ prior))
    firm = np.diag(np.sqrt(TRUST * len(y)) * np.maximum(x.mean(axis=0), 1e-9))
    weights = np.ones(len(y))
    for _ in range(STEPS):
        coefficients, _ = nnls(np.vstack([x * weights[:, None], firm]),
                               np.concatenate([y * weights, firm @ prior]))
        # One where the error is 30 %.
        weights = np.sqrt(0.3 / np.maximum(np.abs(x @ coefficients - y), FLOOR))
    residuals = collections.defaultdict(lambda: collections.defaultdict(list))
    for row, found, real in zip(rows, x @ coefficients, y, strict=True):
        if found > 0 and real > 0:
            residuals[kind_of(row["unit"])][row["unit"]].append(math.log(real / found))
    # Few units say little of their class.
    factors = {kind: math.exp(statistics.median(sum(each) / len(each) for each in units.values())
                              * len(units) / (len(units) + 1))
               for kind, units in residuals.items()}

    def predict(counts, kind):
        return float(np.array(_features(counts, names)) @ coefficients) * factors.get(kind, 1)

    return predict
