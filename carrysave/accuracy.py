# SPDX-License-Identifier: Apache-2.0
"""``carrysave accuracy``: what each number format costs, measured into a table."""

import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from .errors import BadInput, Failure
from .hw.cache import digest
from .tables import read_csv, write_csv

__all__ = ["ACTIVATIONS", "COLUMNS", "KINDS", "Found", "accuracy", "read"]

COLUMNS = ("format", "bits", "scale", "transform", "subject", "values", "relative_error",
           "qsnr_db", "perplexity", "accuracy", "command", "tools", "hash")
IDENTITY = ("format", "scale", "transform", "subject")
KINDS = ("tensors", "perplexity", "tasks")
ACTIVATIONS = ("fp32", "int8", "int4", "e4m3", "e2m1", "mxint8", "mxfp8_e4m3", "mxfp4", "nvfp4",
               "nvint4", "olive8", "olive4")
TASKS = ("fp32", "int2", "int3", "int4", "int5", "int6", "int8", "int4g128", "e4m3", "e2m1", "nf4",
         *ACTIVATIONS[5:])
NETWORKS = ("fashion", "har")
TOKENS = 2048
PACKAGES = ("gguf", "numpy", "safetensors", "tokenizers", "torch")
TRAINING = ("brevitas", "numpy", "torch")
METHOD = 1  # to be raised where what is measured changes, and no format does
SECONDS = 5  # between two writes


class Found(NamedTuple):
    """Rows that were asked for, of which ``measured`` are new; and what was left out, and why."""

    rows: list
    measured: int
    skipped: list


class Source(NamedTuple):
    """Tensors: subjects by name, and whence they come.

    ``load`` yields ``(name, kind, matrix)``; ``data`` is a hash of what it yields.
    """

    name: str
    subjects: list
    data: str
    load: Callable[[], Iterator[tuple]]


class Job(NamedTuple):
    """A row without its metrics, and what gives them."""

    row: dict
    measure: Callable[..., dict]


def accuracy(names=(), *, out, only=None, tokens=TOKENS, train=False, progress=None):
    """Measure what is not known yet; each result is in the table soon after.

    Parameters
    ----------
    names : sequence of str
        Formats; by default all that can keep weights and activations, for perplexity
        `ACTIVATIONS` and for tasks `TASKS`.
    out : path
        The table. A row whose hash is there already is not measured again; other rows stay.
    only : str, optional
        One of `KINDS`; all by default, but tasks with ``train`` alone.
    tokens : int
        Of the text, for perplexity.
    train : bool
        Whether networks that are not in the cache are trained for their weights.
    progress : callable(line), optional

    Returns
    -------
    Found

    Raises
    ------
    BadInput, Failure
        What was measured until then stays in the table.
    """
    report = progress or (lambda line: None)
    if only is not None and only not in KINDS:
        raise BadInput(f"--only: must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {only!r}")
    formats, usual, classifying = _formats(names)
    if only in (None, "perplexity"):
        list(_fetched(lambda: _check_tokens(tokens)))  # before the table is written
    table, skipped, rows = _Table(Path(out)), [], []
    tools = "" if only == "tasks" else _tools()
    try:
        if only in (None, "tensors"):
            sources, skipped = _sources(train, report)
            for source in sources:
                rows += _tensors(source, formats, table, tools=tools, report=report)
        if only in (None, "perplexity"):
            rows += _perplexities(usual, tokens, table, tools=tools, report=report)
        if only == "tasks" or only is None and train:
            rows += _tasks(classifying, table, report=report)
    finally:
        table.write()
    return Found(rows, table.measured, skipped)


def _formats(names):
    """Formats for tensors, those for perplexity, those for tasks."""
    from .quant.formats import get
    from .quant.formats import names as listed

    def suited(found):
        return [fmt for fmt in found if not _quant().unsuited(fmt)]

    if not names:
        return [suited(map(get, found)) for found in (listed(), ACTIVATIONS, TASKS)]
    try:
        found = [get(name) for name in dict.fromkeys(names)]
    except ValueError as error:
        raise BadInput(f"FORMAT: {error}") from None
    for fmt in found:
        if why := _quant().unsuited(fmt):
            raise BadInput(f"FORMAT: must be able to keep weights by itself; {why}")
    return found, found, found


def _quant():
    """`quant.accuracy`."""
    from .quant import accuracy

    return accuracy


def _language():
    """`quant.language`, where it is installed."""
    try:
        from .quant import language
        from .quant.language import minilm, smollm2, text
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is needed: pip install carrysave[language]") from None
    return language, smollm2, text, minilm


def _tools(packages=PACKAGES, extra="language"):
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise Failure(f"{name} is needed: pip install carrysave[{extra}]") from None
    return "; ".join(f"{name} {version}" for name, version in found.items())


class _Table:
    """The rows of a file, and those that are added."""

    def __init__(self, path):
        self.path, self.measured, self._new = path, 0, {}
        self.known = {row["hash"]: row for row in read(path)}
        self._written = time.monotonic()
        self.write()  # a file that cannot be written shows before anything is measured

    def add(self, row):
        self._new[_identity(row)] = self.known[row["hash"]] = row
        self.measured += 1
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self):
        """The file with the new rows in the place of those they supersede, at once or not at all.

        It is read again: somebody else may have measured into it.
        """
        rows = {**{_identity(row): row for row in read(self.path)}, **self._new}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_csv(self.path, COLUMNS, sorted(rows.values(), key=_order()))
        except OSError as error:
            raise BadInput(f"--out: {self.path} cannot be written: {error.strerror}") from None
        self._written = time.monotonic()


def _identity(row):
    return tuple(row[name] for name in IDENTITY)


def _order():
    """Key of rows: subjects by name, formats as the registry lists them."""
    from .quant.formats import names

    places = {name: place for place, name in enumerate(names())}
    return lambda row: (bool(row["perplexity"]), bool(row["accuracy"]), row["subject"],
                        places.get(row["format"], len(places)), *_identity(row))


def read(path):
    """Rows of the table, see `read_csv`."""
    return read_csv(path, COLUMNS)


def _job(fmt, scale, measure, *, subject, data, tools, command, transform="none", rounds=None):
    """A `Job`, with the hash of everything that its result depends on.

    ``rounds`` is how the format rounds, where it is more than its fingerprint.
    """
    row = {
        "format": fmt.name, "bits": f"{_bits(fmt):g}",
        "scale": scale, "transform": transform, "subject": subject, "tools": tools,
    }
    inputs = {**row, "data": data, "method": METHOD,
              "rounds": rounds or _quant().fingerprint(fmt, scale)}
    return Job({**row, "command": f"carrysave accuracy {fmt.name} {command}",
                "hash": digest(json.dumps(inputs, sort_keys=True))[:16]}, measure)


def _bits(fmt):
    """Bits stored for each value, with its share of the scales in blocks and groups."""
    if hasattr(fmt, "scale_bits"):
        return fmt.bits + (fmt.scale_bits + fmt.zero_point * fmt.bits) / fmt.size
    return getattr(fmt, "bits_per_value", fmt.bits)


def _run(jobs, table, *args):
    """Rows of jobs, measured where they are not known."""
    for row, measure in jobs:
        if row["hash"] not in table.known:
            table.add({**dict.fromkeys(COLUMNS, ""), **row, **measure(*args)})
        yield table.known[row["hash"]]


def _sources(train, report):
    """Where tensors come from, and what was left out, and why."""
    from .quant.accuracy import tensors

    _, smollm2, text, minilm = _language()
    data = digest(smollm2.PACKAGE.sha256 + text.PACKAGE.sha256)
    found = [
        Source("smollm2", [(f"blocks.{block}.{part}", kind) for block in tensors.SMOLLM2
                           for part in tensors.PARTS for kind in ("weights", "activations")],
               data, tensors.smollm2),
        Source("minilm", [(name.removesuffix(".weight"), "weights") for name in tensors.MINILM],
               minilm.PACKAGE.sha256, tensors.minilm),
    ]
    skipped = []
    for name in NETWORKS:
        if train:
            found.append(_network(name, report))
        else:
            skipped.append(f"weights of {name}: left out; --train trains it, which takes minutes, "
                           "or takes it from the cache")
    return found, skipped


def _network(name, report):
    """`Source` of the weights of an example, trained as its configuration says."""
    from .config import load_config
    from .subject import load_subject

    subject = load_subject(load_config(Path(str(files("carrysave.examples") / f"{name}.toml"))),
                           progress=lambda line: report(f"{name}: {line}"))
    assert subject.trained is not None  # the examples name no network
    found = [(layer.removesuffix(".weight"), "weights", weight.detach().flatten(1).numpy())
             for layer, weight in subject.trained.named_parameters()
             if layer.endswith(".weight") and weight.ndim > 1]
    return Source(name, [each[:2] for each in found],
                  digest(b"".join(each[2].tobytes() for each in found)), lambda: iter(found))


def _tensors(source, formats, table, *, tools, report):
    """Rows of a source's tensors in all formats."""
    quant = _quant()
    command = "--only tensors" + (" --train" if source.name in NETWORKS else "")
    jobs = {
        (name, kind): [
            _job(fmt, scale, lambda x, fmt=fmt, scale=scale: _error(x, fmt, scale),
                 subject=f"{source.name} {name} {kind}", data=source.data, tools=tools,
                 command=command)
            for fmt in formats for scale in quant.scales(fmt)]
        for name, kind in source.subjects
    }
    rows = []
    tensors = iter(())
    if any(job.row["hash"] not in table.known for each in jobs.values() for job in each):
        report(f"{source.name}: reading")
        tensors = _fetched(source.load)
        for at, (name, kind, x) in enumerate(tensors, 1):
            report(f"{source.name}: {name} {kind}, {at} of {len(source.subjects)}")
            rows += _run(jobs.pop((name, kind)), table, x)
    # What is known needs no tensor.
    return rows + [row for each in jobs.values() for row in _run(each, table)]


def _error(x, fmt, scale):
    found = _quant().error(x, _quant().rounded(x, fmt, scale))
    return {"values": str(x.size), "relative_error": f"{found.relative:.4g}",
            "qsnr_db": f"{found.qsnr:.2f}"}


def _perplexities(formats, tokens, table, *, tools, report):
    """Rows of perplexity: formats, their scales, transforms."""
    language, smollm2, text, _ = _language()
    from .quant.accuracy import perplexity as model

    quant, smooth = _quant(), {}
    data = digest(smollm2.PACKAGE.sha256 + text.PACKAGE.sha256)

    def measure(fmt, scale, transform):
        if transform == "smooth" and not smooth:
            smooth.update(model.calibrated(language.SmolLM2()))
        found = model.perplexity(fmt, scale, transform=transform, tokens=tokens,
                                 smooth=smooth if transform == "smooth" else None)
        return {"values": str(tokens), "perplexity": f"{found:.5g}"}

    option = "" if tokens == TOKENS else f" --tokens {tokens}"
    jobs = [
        _job(fmt, scale, lambda fmt=fmt, scale=scale, transform=transform: measure(
            fmt, scale, transform), subject=f"smollm2 perplexity {tokens} tokens", data=data,
            tools=tools, command=f"--only perplexity{option}", transform=transform)
        for transform in model.TRANSFORMS for fmt in formats for scale in _used(quant, fmt)
        if transform == "none" or scale != "none"
    ]
    rows = []
    for at, job in enumerate(jobs, 1):
        row = job.row
        report(f"perplexity: {row['format']}, scale {row['scale']}, transform "
               f"{row['transform']}, {at} of {len(jobs)}")
        rows += _fetched(lambda job=job: _run([job], table))
    return rows


def _used(quant, fmt):
    """Scales of activations; of pairs, a search for each token would be none that hardware does."""
    from .quant.formats import Pair

    return ("tensor",) if isinstance(fmt, Pair) else quant.scales(fmt)


def _tasks(formats, table, *, report):
    """Rows of classifiers: networks, formats, before and after training in them."""
    from .accuracy_tasks import TRANSFORMS, example, rounds

    tools, rows = _tools(TRAINING, "train"), []
    for name in NETWORKS:
        task = next(iter(_fetched(lambda name=name: [example(name, report)])))
        jobs = []
        for fmt in formats:
            scale, how = rounds(fmt)
            plain = fmt.name == "fp32"
            for transform in ("none",) if plain else TRANSFORMS:
                jobs.append(_job(
                    fmt, scale, lambda task=task, fmt=None if plain else fmt, transform=transform:
                    {"values": str(task.samples),
                     "accuracy": f"{100 * task.score(fmt, transform):.2f}"},
                    subject=task.subject, data=task.data, tools=tools, rounds=how,
                    command="--only tasks", transform=transform))
        for at, job in enumerate(jobs, 1):
            row = job.row
            report(f"{name}: {row['format']}, {row['transform']}, {at} of {len(jobs)}")
            rows += _run([job], table)
    return rows


def _check_tokens(tokens):
    """Nothing, if the text has so many tokens."""
    language, *_ = _language()
    from .quant.accuracy import perplexity as model

    try:
        model.texts(language.SmolLM2(), tokens)
    except ValueError as error:
        from .quant.data import DataError

        if isinstance(error, DataError):
            raise
        raise BadInput(f"--tokens: {error}") from None
    return ()


def _fetched(load: Callable[[], Any]):
    """What ``load`` yields; data that cannot be had are a failure, in one line."""
    from .quant.data import DataError

    try:
        yield from load()
    except DataError as error:
        raise Failure(str(error)) from None
