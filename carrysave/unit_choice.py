# SPDX-License-Identifier: Apache-2.0
"""The unit that a user names on the command line, with parameters changed there."""

import dataclasses
import inspect
import re

from amaranth.hdl import Shape
from amaranth.lib import wiring

from .errors import BadInput
from .hw import catalogue
from .quant import formats

__all__ = ["Choice", "choose"]

WIDEST = 1 << 16  # bits of a payload
MOST = {"group": 1 << 24}  # of a number given on the command line: more would take all memory
MOST_OTHERS = 4096
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclasses.dataclass(frozen=True)
class Choice:
    """A unit, ready to use.

    Attributes
    ----------
    name : str
        Of the preset, or of the unit's module where it has none.
    preset : str or None
    unit : wiring.Component
    parameters : dict
        With which it was made.
    """

    name: str
    preset: str | None
    unit: wiring.Component
    parameters: dict


def choose(name, *, preset=None, settings=()):
    """Find and make a unit.

    Parameters
    ----------
    name : str
        A preset; or a class or module of units, such as ``MixPE``, ``mixpe``, ``pe/mixpe`` or
        ``carrysave.hw.pe.mixpe.MixPE``.
    preset : str, optional
        A preset of that class, by its name or the words that it ends with. Without one, a
        class gets its own defaults.
    settings : iterable of str
        ``NAME=VALUE``: integers, pairs of them (``-8,7``), ``true`` and ``false``, words, and
        formats by their names.

    Raises
    ------
    BadInput
    """
    found, kind = _find(name, preset)
    parameters = dict(found.parameters) if found else {}
    known = inspect.signature(kind).parameters
    for setting in settings:
        key, given, text = setting.partition("=")
        key = key.strip().replace("-", "_")
        if not given or not key:
            raise BadInput(f"--set: must be NAME=VALUE, not {setting!r}")
        if key not in known:
            raise BadInput(f"--set: {kind.__name__} has no parameter {key!r}; it has "
                           f"{', '.join(known)}")
        default = known[key].default
        now = parameters.get(key, None if default is known[key].empty else default)
        parameters[key] = _value(key, text.strip(), now, default)
    missing = [key for key, parameter in known.items() if key not in parameters
               and parameter.default is parameter.empty
               and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]
    if missing:
        raise BadInput(f"{kind.__name__} needs {', '.join(missing)}: give --set {missing[0]}=…, or "
                       f"--preset with one of {', '.join(_presets(kind))}")
    try:
        unit = kind(**parameters)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{found.name if found else kind.__name__}: {error}") from None
    for stream in ("i", "o"):
        width = Shape.cast(getattr(unit, stream).p.shape()).width
        if width > WIDEST:
            raise BadInput(f"{name}: payloads of {stream} must have at most {WIDEST} bits, "
                           f"not {width}")
    own = found.name if found else kind.__module__.rpartition(".")[2]
    return Choice(own, found.name if found else None, unit, parameters)


def _presets(kind):
    return [preset.name for preset in catalogue.PRESETS if preset.unit is kind]


def _find(name, preset):
    """``(preset or None, class)`` of the names given."""
    presets = {each.name: each for each in catalogue.PRESETS}
    if name in presets:
        if preset not in (None, name):
            raise BadInput(f"--preset: {name} is a preset itself; give a unit such as "
                           f"{presets[name].unit.__name__} with --preset {preset}")
        return presets[name], presets[name].unit
    parts = name.replace("/", ".").removesuffix(".py").split(".")
    kinds = {
        each.unit for each in catalogue.PRESETS
        if _matches(f"{each.unit.__module__}.{each.unit.__name__}".lower(), parts)
    }
    if len(kinds) != 1:
        units = sorted({each.unit.__name__ for each in catalogue.PRESETS})
        raise BadInput(f"UNIT must be one of {', '.join(presets)}; or one of {', '.join(units)} "
                       f"with --preset or --set; not {name!r}")
    (kind,) = kinds
    if preset is None:
        return None, kind
    own = _presets(kind)
    fits = [each for each in own if preset == each] or [
        each for each in own if each.endswith(f"-{preset}")]
    if len(fits) != 1:
        raise BadInput(f"--preset: must be one of {', '.join(own)}, not {preset!r}")
    return presets[fits[0]], kind


def _matches(full, parts):
    """Whether the words name a class, or its module, from any level of the packages on."""
    words, module = full.split("."), full.split(".")[:-1]
    parts = [part.lower() for part in parts]
    if parts[-2:] == module[-1:] + words[-1:]:
        module = words
    return words[-len(parts):] == parts or module[-len(parts):] == parts


def _value(key, text, now, default):
    """A value of the kind that the parameter has now; by its look where that is None."""
    if text.lower() == "none" and default is None:
        return None
    if isinstance(now, bool):
        if text.lower() in WORDS:
            return WORDS[text.lower()]
        if text in ("0", "1"):
            return text == "1"
        raise BadInput(f"--set {key}: must be true or false, not {text!r}")
    if isinstance(now, tuple) or isinstance(now, int) and "," in text:
        return tuple(_integer(key, part) for part in text.split(","))
    if isinstance(now, int):
        return _integer(key, text)
    if isinstance(now, str):
        return text
    if now is None:
        return _by_look(text)
    if type(now).__module__.startswith(formats.__name__):
        try:
            return formats.get(text)
        except ValueError as error:
            raise BadInput(f"--set {key}: {error}") from None
    raise BadInput(f"--set {key}: {type(now).__name__} cannot be given on the command line")


def _integer(key, text):
    try:
        number = int(text, 0)
    except ValueError:
        raise BadInput(f"--set {key}: must be an integer, not {text!r}") from None
    most = MOST.get(key, MOST_OTHERS)
    if abs(number) > most:
        raise BadInput(f"--set {key}: must be at most {most}, not {text}")
    return number


def _by_look(text):
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if re.fullmatch(r"[+-]?\d{1,6}", text):
        return int(text)
    try:
        return formats.get(text)
    except ValueError:
        return text
