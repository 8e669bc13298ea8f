# SPDX-License-Identifier: Apache-2.0
"""The layers of a trained module, found by tracing it."""

import operator
import re
from collections import Counter
from dataclasses import dataclass
from math import prod

import brevitas.nn as qnn
import torch
from torch import fx, nn
from torch.nn import functional

from ..golden.windows import positions

__all__ = ["ChannelsFirst", "Step", "UnsupportedModel", "trace"]

CONVS = qnn.QuantConv1d, qnn.QuantConv2d
NORMS = nn.BatchNorm1d, nn.BatchNorm2d
QUANTISERS = qnn.QuantIdentity, qnn.QuantReLU, qnn.QuantHardTanh
DROPPED = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity
SUMS = "linear", "conv", "average_pool", "add"  # kinds whose results are wider than activations
MOVES = "max_pool", "flatten"  # kinds that commute with a quantiser
SHORT = {"linear": "fc", "max_pool": "pool", "average_pool": "pool"}

NEAREST = [
    ((nn.Linear, nn.LazyLinear, nn.Bilinear), "QuantLinear"),
    ((nn.Conv1d, nn.ConvTranspose1d), "QuantConv1d"),
    ((nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d), "QuantConv2d"),
    ((nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d), "BatchNorm2d"),
    ((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.MaxPool3d, nn.LPPool2d), "MaxPool2d"),
    ((nn.AvgPool3d,), "AvgPool2d"),
    ((qnn.TruncAvgPool2d,), "AvgPool2d and a QuantIdentity behind it"),
    ((qnn.TruncAdaptiveAvgPool2d,), "AdaptiveAvgPool2d and a QuantIdentity behind it"),
    ((qnn.QuantEltwiseAdd,), "+ of two results of one QuantIdentity"),
    ((nn.Softmax, nn.LogSoftmax), "none: the greatest logit is the class"),
    ((nn.ReLU6,), "QuantReLU"),
    ((qnn.QuantSigmoid, qnn.QuantTanh, nn.Tanh, nn.Hardtanh), "QuantHardTanh"),
]
ACTIVATIONS = "torch.nn.modules.activation"
NEAREST_FUNCTION = {
    "sigmoid": "QuantReLU", "tanh": "QuantHardTanh", "relu6": "QuantReLU", "gelu": "QuantReLU",
    "silu": "QuantReLU", "leaky_relu": "QuantReLU", "softmax": "none: the greatest logit is the "
    "class", "sub": "+", "mean": "AdaptiveAvgPool2d(1)", "linear": "QuantLinear",
    "matmul": "QuantLinear", "conv1d": "QuantConv1d", "conv2d": "QuantConv2d",
    "max_pool1d": "MaxPool1d", "max_pool2d": "MaxPool2d",
    "avg_pool1d": "AvgPool1d", "avg_pool2d": "AvgPool2d", "adaptive_avg_pool2d":
    "AdaptiveAvgPool2d", "batch_norm": "BatchNorm2d", "cat": "+",
}
KNOWN = "QuantConv1d, QuantConv2d, QuantLinear, QuantReLU, QuantIdentity, pools, Flatten and +"


class UnsupportedModel(ValueError):
    """A module that has no integer counterpart here; the message names it."""


class ChannelsFirst(nn.Module):
    """Flat, channel-last samples in torch's order: (samples, features) to (samples, channels, …).

    Parameters
    ----------
    shape : tuple of int
        Of a sample, channels last.
    """

    def __init__(self, shape):
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x):
        return x.reshape(-1, *self.shape).movedim(-1, 1)

    def extra_repr(self):
        return str(self.shape)


@dataclass(eq=False)
class Step:
    """One layer of the integer network to be, and where the trained module computes it.

    Attributes
    ----------
    kind : str
        Of the layer, or "input".
    module : nn.Module or None
        Layer with weights.
    shape : tuple
        Of an output sample, channel-last.
    window : dict
        ``kernel``, ``stride``, ``padding``; of a convolution ``groups`` too.
    channels : int or None
        Channels of what has been flattened in torch's order, channels outermost.
    norm : (str, nn.Module) or None
        Batch normalisation that is not merged yet, and its name.
    relu : bool
        Whether a ReLU follows that is no quantiser.
    quantiser : nn.Module or None
        Of the result.
    birth : fx.Node
        Where the result arises.
    node : fx.Node or None
        Whose value the result is at last; None: the trained module computes in another order.
    """

    name: str
    kind: str
    where: str
    sources: list
    shape: tuple
    birth: fx.Node
    node: fx.Node | None
    module: nn.Module | None = None
    window: dict | None = None
    channels: int | None = None
    norm: tuple | None = None
    relu: bool = False
    quantiser: nn.Module | None = None

    @property
    def origin(self):
        """The step whose quantiser is this one's too."""
        return self.sources[0].origin if self.kind in MOVES else self

    @property
    def pending(self):
        """Whether the result still has to be quantised."""
        origin = self.origin
        return origin.quantiser is None and origin.kind in (*SUMS, "input")

    @property
    def clamped(self):
        """Whether the result is at least 0."""
        return self.relu or isinstance(self.quantiser, qnn.QuantReLU)

    def arranged(self, value):
        """A value of the trained module, channels first, in the order of the network."""
        if self.channels:
            return value.unflatten(1, (self.channels, -1)).transpose(1, 2).flatten(1)
        return value.movedim(1, -1) if value.ndim > 2 else value


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        ours = isinstance(m, ChannelsFirst) or m.__module__.startswith("brevitas.")
        return ours or super().is_leaf_module(m, module_qualified_name)


def trace(model, input_shape=None):
    """Steps of a module in the order in which it computes them.

    Parameters
    ----------
    model : nn.Module
        Of Brevitas' layers, batch normalisation, pools, flatten, dropout and ``+``.
    input_shape : tuple of int, optional
        Of a sample as the module reads it, channels first; default: of its `ChannelsFirst`, or the
        inputs of a first linear layer.

    Returns
    -------
    list of Step
        The input, then one for each layer of the integer network.
    fx.GraphModule
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # Whatever the module's own code may raise.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedModel(f"Model cannot be traced: {reason}") from None
    traced = fx.GraphModule(model, graph)
    traced.graph.eliminate_dead_code()
    return _Reader(model, traced.graph, input_shape).read(), traced


class _Reader:
    """Walks a traced graph; ``values`` has the step of each node that is an activation."""

    def __init__(self, model, graph, input_shape):
        self.modules = dict(model.named_modules())
        self.graph, self.input_shape = graph, input_shape
        self.steps, self.values, self.names = [], {}, set()
        self.uses = Counter(node.target for node in graph.nodes if node.op == "call_module")

    def read(self):
        for node in self.graph.nodes:
            getattr(self, node.op)(node)
        return self.steps

    # Operations of a traced graph.

    def placeholder(self, node):
        if self.steps:
            raise UnsupportedModel("Model must have one input")
        self._put(node, "input", [], self._input_shape())

    def get_attr(self, node):
        raise UnsupportedModel(f"Node {node.target}: a tensor of the model's own is not supported")

    def output(self, node):
        """Check that the result are logits."""
        result = node.args[0]
        if not isinstance(result, fx.Node) or result not in self.values:
            raise UnsupportedModel("Model must return one tensor, the logits")
        last = self.values[result]
        origin = last.origin
        if origin.kind not in ("linear", "conv", "average_pool") or origin.quantiser is not None:
            raise UnsupportedModel(
                "Model must end with a QuantLinear, whose outputs are the logits"
            )
        if origin.relu or "max_pool" in self._kinds(last):
            raise UnsupportedModel(f"Node {origin.where}: the logits must not pass a ReLU or pool")
        if len(last.shape) > 1:
            raise UnsupportedModel(f"Model must end with one axis of logits, not {last.shape}")

    def call_module(self, node):
        module, name = self.modules[node.target], node.target
        source = self._source(node, name)
        if isinstance(module, DROPPED):
            self.values[node] = source
            self._move(source, node)
        elif isinstance(module, QUANTISERS):
            self._quantise(node, source, module)
        elif isinstance(module, nn.ReLU):
            self._relu(node, source)
        elif isinstance(module, ChannelsFirst):
            if source.kind != "input" or node.args[0].op != "placeholder":
                raise UnsupportedModel(f"Node {name}: ChannelsFirst must come first")
            self.values[node] = source
            self._move(source, node)
        elif isinstance(module, NORMS):
            self._norm(node, source, module)
        elif isinstance(module, nn.Flatten):
            self._flatten(node, source, module.start_dim, module.end_dim)
        elif isinstance(module, (nn.MaxPool1d, nn.MaxPool2d)):
            self._max_pool(node, source, module)
        elif isinstance(module, (nn.AvgPool1d, nn.AvgPool2d)):
            self._average_pool(node, source, module)
        elif isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)):
            self._adaptive_pool(node, source, module)
        elif isinstance(module, qnn.QuantLinear):
            self._linear(node, source, module)
        elif isinstance(module, CONVS):
            self._conv(node, source, module)
        else:
            raise _unsupported(name, type(module).__name__, _nearest(module))
        if self.uses[name] > 1 and isinstance(module, (*CONVS, *NORMS, qnn.QuantLinear)):
            raise UnsupportedModel(
                f"Node {name}: {type(module).__name__} must be used once, not {self.uses[name]} "
                "times"
            )

    def call_function(self, node):
        if node.target in (operator.add, operator.iadd, torch.add):
            self._add(node)
        elif node.target in (torch.relu, torch.relu_, functional.relu):
            self._relu(node, self._source(node, node.name))
        elif node.target is torch.flatten:
            start, end = _ends(*node.args[1:], **node.kwargs)
            self._flatten(node, self._source(node, node.name), start, end)
        elif node.target in (getattr, operator.getitem) and self._is_size(node.args[0]):
            pass
        else:
            name = getattr(node.target, "__name__", str(node.target))
            raise _unsupported(node.name, name, NEAREST_FUNCTION.get(name.strip("_")))

    def call_method(self, node):
        name = node.target
        if name == "size":
            return
        if name == "relu":
            self._relu(node, self._source(node, node.name))
        elif name in ("add", "add_"):
            self._add(node)
        elif name == "flatten":
            start, end = _ends(*node.args[1:], **node.kwargs)
            self._flatten(node, self._source(node, node.name), start, end)
        elif name in ("view", "reshape"):
            if len(node.args) != 3 or not isinstance(node.args[1], fx.Node) or node.args[2] != -1:
                raise _unsupported(node.name, name, "Flatten")
            self._flatten(node, self._source(node, node.name), 1, -1)
        elif name in ("contiguous", "clone", "detach"):
            self.values[node] = self._source(node, node.name)
        else:
            raise _unsupported(node.name, name, NEAREST_FUNCTION.get(name.strip("_")))

    # What a node does to its source.

    def _put(self, node, kind, sources, shape, **more):
        where = _where(node)
        step = Step(self._name(kind, where), kind, where, sources, tuple(shape), node, node, **more)
        self.steps.append(step)
        self.values[node] = step
        return step

    def _name(self, kind, where):
        """The module's own name, but where it is a number or taken, one after the kind."""
        if kind == "input":
            return kind
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", where)[-64:]
        if name.rpartition(".")[2].isdecimal() or name in {*self.names, "input"}:
            short, number = SHORT.get(kind, kind), 1
            while f"{short}{number}" in self.names:
                number += 1
            name = f"{short}{number}"
        self.names.add(name)
        return name

    def _source(self, node, name):
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in self.values:
            raise UnsupportedModel(f"Node {name}: its input is no activation")
        return self.values[source]

    def _is_size(self, node):
        return node in self.values or node.op == "call_method" or node.target is getattr

    @staticmethod
    def _kinds(step):
        kinds = [step.kind]
        while step.kind in MOVES:
            step = step.sources[0]
            kinds.append(step.kind)
        return kinds

    def _move(self, step, node):
        """The result of a step is the value of another node now."""
        step.node = node

    def _rest(self, step, node):
        """Check that nothing reads a result on the way from where it arose to its quantiser."""
        at, origin = node, step.origin
        while at is not origin.birth:
            at = at.args[0]
            if sum(user.target not in ("size", getattr) for user in at.users) > 1:
                raise UnsupportedModel(
                    f"Node {origin.where}: its result is read twice before it is quantised"
                )

    def _quantise(self, node, source, module):
        if not source.pending:
            self._put(node, "rescale", [source], source.shape, quantiser=module,
                      channels=source.channels)
            return
        self._rest(source, node)
        self._settle_at(source, node)
        source.origin.quantiser = module

    def _settle_at(self, source, node):
        """A quantiser or ReLU at this node works before all that commutes with it."""
        step = source
        while step.kind in MOVES:
            step.node, step = None, step.sources[0]
        step.node = None
        source.node = node
        self.values[node] = source

    def _relu(self, node, source):
        if source.origin.kind == "input":
            self._need_quantised(source, _where(node))
        before = node.args[0]
        alone = len(before.users) == 1 and isinstance(self.modules.get(before.target), QUANTISERS)
        if source.pending:
            self._rest(source, node)
        elif not alone or source.kind in (*MOVES, "input"):
            self._put(node, "rescale", [source], source.shape, relu=True, channels=source.channels)
            return
        self._settle_at(source, node)
        source.origin.relu = True

    def _norm(self, node, source, module):
        if source.kind not in ("linear", "conv") or not source.pending or source.relu:
            raise UnsupportedModel(
                f"Node {node.target}: {type(module).__name__} must directly follow a convolution "
                "or linear layer"
            )
        if module.running_mean is None or source.norm:
            raise UnsupportedModel(
                f"Node {node.target}: {type(module).__name__} must have running statistics and be "
                "the only one"
            )
        self._rest(source, node)
        source.norm, source.node = (node.target, module), node
        self.values[node] = source

    def _flatten(self, node, source, start, end):
        if start not in (1, 1 - len(source.shape) - 1) or end not in (-1, len(source.shape)):
            raise UnsupportedModel(
                f"Node {_where(node)}: flatten must leave the samples and no other axis"
            )
        if len(source.shape) == 1:
            self.values[node] = source
            self._move(source, node)
            return
        if source.kind == "input" and source.quantiser is None:
            self._need_quantised(source, _where(node))
        self._put(node, "flatten", [source], [prod(source.shape)], channels=source.shape[-1])

    def _max_pool(self, node, source, module):
        if source.origin.kind == "input" and source.pending:
            self._need_quantised(source, node.target)
        if module.return_indices:
            raise UnsupportedModel(f"Node {node.target}: return_indices must be False")
        window = self._window(node, source, module)
        self._put(node, "max_pool", [source], self._slid(node, source, window), window=window)

    def _average_pool(self, node, source, module):
        self._need_quantised(source, node.target)
        window = self._window(node, source, module)
        if any(map(any, window["padding"])) and not module.count_include_pad:
            raise UnsupportedModel(f"Node {node.target}: count_include_pad must be True")
        if getattr(module, "divisor_override", None):
            raise UnsupportedModel(f"Node {node.target}: divisor_override must be None")
        self._put(node, "average_pool", [source], self._slid(node, source, window), window=window)

    def _adaptive_pool(self, node, source, module):
        self._need_quantised(source, node.target)
        sizes, wanted = source.shape[:-1], module.output_size
        self._axes(node, source, module)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,) * len(sizes)
        wanted = tuple(s if w is None else w for w, s in zip(wanted, sizes, strict=True))
        if any(size % want for size, want in zip(sizes, wanted, strict=True)):
            raise UnsupportedModel(
                f"Node {node.target}: output_size must divide {sizes}, not {wanted}"
            )
        kernel = tuple(size // want for size, want in zip(sizes, wanted, strict=True))
        window = {"kernel": kernel, "stride": kernel, "padding": ((0, 0),) * len(kernel)}
        self._put(node, "average_pool", [source], self._slid(node, source, window), window=window)

    def _linear(self, node, source, module):
        self._need_quantised(source, node.target)
        if source.shape != (module.in_features,):
            raise UnsupportedModel(
                f"Node {node.target}: its inputs are {module.in_features}, but {source.shape} come"
            )
        self._put(node, "linear", [source], [module.out_features], module=module)

    def _conv(self, node, source, module):
        self._need_quantised(source, node.target)
        if module.padding_mode != "zeros":
            raise UnsupportedModel(f"Node {node.target}: padding_mode must be 'zeros'")
        window = self._window(node, source, module)
        if source.shape[-1] != module.in_channels:
            raise UnsupportedModel(
                f"Node {node.target}: in_channels must be {source.shape[-1]}, "
                f"not {module.in_channels}"
            )
        (*places, _), outputs = self._slid(node, source, window), module.out_channels
        window["groups"] = module.groups
        self._put(node, "conv", [source], [*places, outputs], module=module, window=window)

    def _add(self, node):
        if len(node.args) != 2 or any(arg not in self.values for arg in node.args):
            raise UnsupportedModel(f"Node {node.name}: + must have two activations")
        sources = [self.values[arg] for arg in node.args]
        for source in sources:
            self._need_quantised(source, node.name)
        a, b = sources
        if a.shape != b.shape or a.channels != b.channels:
            raise UnsupportedModel(
                f"Node {node.name}: both of + must have one shape, not {a.shape} and {b.shape}"
            )
        self._put(node, "add", sources, a.shape, channels=a.channels)

    def _need_quantised(self, source, name):
        if not source.pending:
            return
        if source.origin.kind == "input":
            raise UnsupportedModel(
                "Model must begin with a QuantIdentity, which quantises the input"
            )
        raise UnsupportedModel(
            f"Node {name}: its input must be quantised: put a QuantReLU or QuantIdentity behind "
            f"{source.origin.where}"
        )

    # Shapes.

    def _input_shape(self):
        if self.input_shape is not None:
            shape = tuple(self.input_shape)
            if not 1 <= len(shape) <= 3 or any(not isinstance(n, int) or n < 1 for n in shape):
                raise UnsupportedModel(
                    "Input_shape must be (features,), (channels, length) or (channels, height, "
                    f"width), not {shape}"
                )
            return (*shape[1:], shape[0])
        for node in self.graph.nodes:
            module = self.modules[node.target] if node.op == "call_module" else None
            if isinstance(module, ChannelsFirst):
                return module.shape
            if isinstance(module, qnn.QuantLinear):
                return (module.in_features,)
            if isinstance(module, CONVS):
                break
        raise UnsupportedModel("Input_shape must be given: (channels, height, width) or the like")

    def _window(self, node, source, module):
        """Kernel, stride and padding of a module, for each axis."""
        axes = self._axes(node, source, module)
        dilation = getattr(module, "dilation", 1)
        if dilation not in (1, (1,), (1, 1)):
            raise UnsupportedModel(f"Node {node.target}: dilation must be 1, not {dilation}")
        if getattr(module, "ceil_mode", False):
            raise UnsupportedModel(f"Node {node.target}: ceil_mode must be False")

        def each(value):
            return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes

        kernel, stride = each(module.kernel_size), each(module.stride)
        padding = 0 if module.padding == "valid" else module.padding
        if padding == "same":
            padding = tuple(((k - 1) // 2, k // 2) for k in kernel)
        else:
            padding = tuple((p, p) for p in each(padding))
        return {"kernel": kernel, "stride": stride, "padding": padding}

    def _axes(self, node, source, module):
        """Axes of positions, as many as the module's name says."""
        axes, kind = len(source.shape) - 1, type(module).__name__
        if axes != int(kind[-2]):
            raise UnsupportedModel(
                f"Node {node.target}: {kind} does not fit an input of shape {source.shape}, "
                "channels last"
            )
        return axes

    def _slid(self, node, source, window):
        try:
            places = [
                positions(size, kernel=k, stride=s, padding=p)
                for size, k, s, p in zip(source.shape[:-1], *window.values(), strict=True)
            ]
        except ValueError as error:
            raise UnsupportedModel(f"Node {node.target}: {error}") from None
        return [*places, source.shape[-1]]


def _where(node):
    """What messages call a node."""
    return str(node.target) if node.op == "call_module" else node.name


def _ends(start_dim=0, end_dim=-1):
    return start_dim, end_dim


def _nearest(module):
    for kinds, nearest in NEAREST:
        if isinstance(module, kinds):
            return nearest
    return "QuantReLU" if type(module).__module__ == ACTIVATIONS else None


def _unsupported(name, kind, nearest):
    hint = f"nearest: {nearest}" if nearest else f"{KNOWN} are"
    return UnsupportedModel(f"Node {name}: {kind} is not supported; {hint}")
