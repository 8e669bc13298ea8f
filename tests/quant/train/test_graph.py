# SPDX-License-Identifier: Apache-2.0
import brevitas.nn as qnn
import pytest
import torch
from torch import nn
from torch.nn import functional

from carrysave.quant.train.graph import ChannelsFirst, UnsupportedModel, trace
from carrysave.quant.train.quantisers import Int4GroupWeight, Int8Act

QUANT = {"weight_quant": Int4GroupWeight}


def act(kind=qnn.QuantIdentity):
    return kind(act_quant=Int8Act)


def conv(*args, **options):
    return qnn.QuantConv2d(*args, **{"bias": True, **QUANT, **options})


def fc(inputs, outputs):
    return qnn.QuantLinear(inputs, outputs, bias=True, **QUANT)


class Between(nn.Module):
    """A quantised input, a convolution, whatever is tried, and the logits."""

    def __init__(self, function, **modules):
        super().__init__()
        self.begin, self.conv, self.act = act(), conv(2, 4, 3, padding=1), act()
        self.mean, self.final, self.fc = nn.AdaptiveAvgPool2d(1), act(), fc(4, 3)
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        x = self.function(self, self.conv(self.begin(x)))
        return self.fc(self.final(self.mean(x)).flatten(1))


def steps(model, shape=(2, 6, 8)):
    return [
        (step.name, step.kind, [s.name for s in step.sources], step.shape, step.relu)
        for step in trace(model, shape)[0]
    ]


def refusal(model, shape=(2, 6, 8)):
    with pytest.raises(UnsupportedModel) as caught:
        trace(model, shape)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


END = [
    ("mean", "average_pool", (1, 1, 4), False),
    ("flatten", "flatten", (4,), False),
    ("fc", "linear", (3,), False),
]


@pytest.mark.parametrize(
    "function, modules, middle",
    [
        (lambda m, x: m.act(x), {}, []),
        (lambda m, x: m.act(m.drop(x)), {"drop": nn.Dropout2d()}, []),
        (lambda m, x: m.same(m.act(x)), {"same": nn.Identity()}, []),
        (lambda m, x: m.act(m.norm(x)), {"norm": nn.BatchNorm2d(4)}, []),
        (lambda m, x: m.pool(m.act(x)), {"pool": nn.MaxPool2d(2)},
         [("pool", "max_pool", (3, 4, 4))]),
        (lambda m, x: m.act(m.pool(x)), {"pool": nn.MaxPool2d((2, 3), 1, 1)},
         [("pool", "max_pool", (7, 8, 4))]),
        (lambda m, x: m.more(m.act(x)), {"more": act()}, [("more", "rescale", (6, 8, 4))]),
        (
            lambda m, x: m.more(m.again(m.act(x))),
            {
                "again": conv(4, 4, (3, 1), stride=(2, 1)),
                "more": qnn.QuantHardTanh(min_val=-1.0, max_val=1.0),
            },
            [("again", "conv", (2, 8, 4))],
        ),
    ],
)
def test_steps(function, modules, middle):
    found = steps(Between(function, **modules))
    assert [(name, kind, shape, relu) for name, kind, _, shape, relu in found] == [
        ("input", "input", (6, 8, 2), False), ("conv", "conv", (6, 8, 4), False),
        *((*part, False) for part in middle), *END,
    ]
    names = [name for name, *_ in found]
    assert [sources for _, _, sources, *_ in found[1:]] == [[name] for name in names[:-1]]


@pytest.mark.parametrize(
    "function, owner",
    [
        (lambda m, x: m.act(torch.relu(x)), "conv"),
        (lambda m, x: m.act(x.relu()), "conv"),
        (lambda m, x: functional.relu(m.act(x)), "conv"),
        (lambda m, x: m.relu(m.act(m.pool(x))), "relu"),
        (lambda m, x: m.act(m.relu(m.pool(x))), "conv"),
        (lambda m, x: m.relu(m.pool(m.act(x))), "relu"),
    ],
)
def test_relu(function, owner):
    """A ReLU belongs to the layer that it can be a bound of; elsewhere it is a rescaling."""
    found = steps(Between(function, relu=nn.ReLU(), pool=nn.MaxPool2d(2)))
    assert [name for name, *_, relu in found if relu] == [owner]
    assert [kind for name, kind, *_ in found if name == owner] == [
        "conv" if owner == "conv" else "rescale"
    ]


def in_place(a, b):
    a += b
    return a


@pytest.mark.parametrize(
    "add", [lambda a, b: a + b, torch.add, lambda a, b: a.add(b), in_place]
)
def test_add(add):
    def function(m, x):
        x = m.act(x)
        return m.more(add(x, m.pool(x)))

    found = steps(Between(function, more=act(), pool=nn.MaxPool2d(1)))
    kinds = [(kind, sources) for _, kind, sources, *_ in found[:4]]
    assert kinds == [
        ("input", []), ("conv", ["input"]), ("max_pool", ["conv"]), ("add", ["conv", "pool"])
    ]


@pytest.mark.parametrize(
    "flatten",
    [
        nn.Flatten(),
        lambda x: x.flatten(1),
        lambda x: x.flatten(start_dim=1),
        lambda x: torch.flatten(x, 1),
        lambda x: torch.flatten(x, start_dim=1),
        lambda x: torch.flatten(x, -3),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.reshape(x.shape[0], -1),
    ],
)
def test_flatten(flatten):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.begin, self.fc = act(), fc(96, 3)

        def forward(self, x):
            return self.fc(flatten(self.begin(x)))

    if isinstance(flatten, nn.Module):
        found = trace(nn.Sequential(act(), flatten, fc(96, 3)), (2, 6, 8))[0]
    else:
        found = trace(Flat(), (2, 6, 8))[0]
    assert [(step.kind, step.shape, step.channels) for step in found] == [
        ("input", (6, 8, 2), None), ("flatten", (96,), 2), ("linear", (3,), None)
    ]


def test_numbers_become_names():
    model = nn.Sequential(
        act(), conv(2, 4, 3), nn.MaxPool2d(2), act(), nn.Sequential(conv(4, 4, 1), act()),
        nn.MaxPool2d(2), nn.Flatten(), fc(4, 3),
    )
    assert [name for name, *_ in steps(model)] == [
        "input", "conv1", "pool1", "conv2", "pool2", "flatten1", "fc1"
    ]


def test_names_are_unique():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.begin, self.input, self.pool = act(), conv(2, 2, 3, padding=1), nn.MaxPool2d(1)
            self.act, self.fc = act(), fc(96, 3)

        def forward(self, x):
            x = self.pool(self.pool(self.act(self.input(self.begin(x)))))
            return self.fc(torch.flatten(x, 1))

    assert [name for name, *_ in steps(Shared())] == [
        "input", "conv1", "pool", "pool1", "flatten", "fc"
    ]


# Shapes.


def test_shape_of_the_input():
    model = [act(), conv(2, 4, 3), act(), nn.Flatten(), fc(96, 3)]
    with_shape = nn.Sequential(ChannelsFirst((6, 8, 2)), *model)
    assert [step.shape for step in trace(with_shape)[0]] == [
        (6, 8, 2), (4, 6, 4), (96,), (3,)
    ]
    x = torch.arange(2 * 96).reshape(2, 96)
    assert torch.equal(with_shape[0](x), x.reshape(2, 6, 8, 2).permute(0, 3, 1, 2))
    assert [step.shape for step in trace(nn.Sequential(act(), fc(7, 3)))[0]] == [(7,), (3,)]
    with pytest.raises(UnsupportedModel, match="^Input_shape must be given: "):
        trace(nn.Sequential(*model))


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: conv(3, 4, 3), "Node 1: in_channels must be 2, not 3"),
        (lambda: conv(2, 4, 9), "Node 1: Kernel must fit into the 6 elements of its axis, not 9"),
        (lambda: conv(2, 4, 3, dilation=2), "Node 1: dilation must be 1, not (2, 2)"),
        (lambda: conv(2, 4, 3, padding=1, padding_mode="reflect"),
         "Node 1: padding_mode must be 'zeros'"),
        (lambda: qnn.QuantConv1d(2, 4, 3, **QUANT),
         "Node 1: QuantConv1d does not fit an input of shape (6, 8, 2), channels last"),
        (lambda: nn.MaxPool2d(2, ceil_mode=True), "Node 1: ceil_mode must be False"),
        (lambda: nn.MaxPool2d(2, dilation=2), "Node 1: dilation must be 1, not 2"),
        (lambda: nn.MaxPool1d(2),
         "Node 1: MaxPool1d does not fit an input of shape (6, 8, 2), channels last"),
        (lambda: nn.AdaptiveAvgPool1d(1),
         "Node 1: AdaptiveAvgPool1d does not fit an input of shape (6, 8, 2), channels last"),
        (lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False),
         "Node 1: count_include_pad must be True"),
        (lambda: nn.AvgPool2d(3, divisor_override=2), "Node 1: divisor_override must be None"),
        (lambda: nn.AdaptiveAvgPool2d(4), "Node 1: output_size must divide (6, 8), not (4, 4)"),
        (lambda: fc(96, 3), "Node 1: its inputs are 96, but (6, 8, 2) come"),
        (lambda: nn.Flatten(0), "Node 1: flatten must leave the samples and no other axis"),
        (lambda: nn.Flatten(2), "Node 1: flatten must leave the samples and no other axis"),
        (lambda: ChannelsFirst((6, 8, 2)), "Node 1: ChannelsFirst must come first"),
    ],
)
def test_shape_refused(make, text):
    assert refusal(nn.Sequential(act(), make())) == text


# What is not supported is named, with what comes nearest.


@pytest.mark.parametrize(
    "make, kind, nearest",
    [
        (nn.Sigmoid, "Sigmoid", "QuantReLU"),
        (nn.ReLU6, "ReLU6", "QuantReLU"),
        (nn.SiLU, "SiLU", "QuantReLU"),
        (nn.Tanh, "Tanh", "QuantHardTanh"),
        (lambda: qnn.QuantSigmoid(), "QuantSigmoid", "QuantHardTanh"),
        (lambda: nn.Linear(8, 8), "Linear", "QuantLinear"),
        (lambda: nn.Conv2d(2, 2, 1), "Conv2d", "QuantConv2d"),
        (lambda: nn.ConvTranspose2d(2, 2, 1), "ConvTranspose2d", "QuantConv2d"),
        (lambda: nn.GroupNorm(1, 2), "GroupNorm", "BatchNorm2d"),
        (lambda: nn.AdaptiveMaxPool2d(1), "AdaptiveMaxPool2d", "MaxPool2d"),
        (lambda: nn.Softmax(1), "Softmax", "none: the greatest logit is the class"),
    ],
)
def test_module_not_supported(make, kind, nearest):
    text = f"Node act1: {kind} is not supported; nearest: {nearest}"
    assert refusal(Between(lambda m, x: m.act1(m.act(x)), act1=make())) == text


def test_module_without_a_neighbour():
    text = refusal(Between(lambda m, x: m.odd(m.act(x)), odd=nn.PixelShuffle(2)))
    assert text.startswith("Node odd: PixelShuffle is not supported; QuantConv1d, QuantConv2d, ")


@pytest.mark.parametrize(
    "function, text",
    [
        (torch.sigmoid, "Node sigmoid: sigmoid is not supported; nearest: QuantReLU"),
        (lambda x: x.tanh(), "Node tanh: tanh is not supported; nearest: QuantHardTanh"),
        (lambda x: torch.cat([x, x], 1), "Node cat: cat is not supported; nearest: +"),
        (lambda x: x - x, "Node sub: sub is not supported; nearest: +"),
        (lambda x: x.mean((2, 3)),
         "Node mean: mean is not supported; nearest: AdaptiveAvgPool2d(1)"),
        (lambda x: functional.avg_pool2d(x, 2),
         "Node avg_pool2d: avg_pool2d is not supported; nearest: AvgPool2d"),
        (lambda x: functional.max_pool2d(x, 2),
         "Node max_pool2d: max_pool2d is not supported; nearest: MaxPool2d"),
        (lambda x: x.view(-1, 192), "Node view: view is not supported; nearest: Flatten"),
        (lambda x: x + 1, "Node add: + must have two activations"),
        (lambda x: x.permute(0, 2, 3, 1), "Node permute: permute is not supported; QuantConv1d, "
         "QuantConv2d, QuantLinear, QuantReLU, QuantIdentity, pools, Flatten and + are"),
    ],
)
def test_function_not_supported(function, text):
    assert refusal(Between(lambda m, x: function(m.act(x)))) == text


def test_what_must_be_quantised():
    behind = "its input must be quantised: put a QuantReLU or QuantIdentity behind"
    assert refusal(Between(lambda m, x: x)) == f"Node mean: {behind} conv"
    pool = nn.MaxPool2d(2)
    assert refusal(Between(lambda m, x: m.pool(x), pool=pool)) == f"Node mean: {behind} conv"

    def branch(m, x):
        x = m.act(x)
        return m.more(x) + x

    assert refusal(Between(branch, more=conv(4, 4, 1))) == f"Node add: {behind} more"
    begin = "Model must begin with a QuantIdentity, which quantises the input"
    for first in nn.ReLU(), nn.MaxPool2d(2), nn.AvgPool2d(2), conv(2, 2, 1), nn.Flatten():
        assert refusal(nn.Sequential(first, act())) == begin


def test_read_before_it_is_quantised():
    text = "Node conv: its result is read twice before it is quantised"
    assert refusal(Between(lambda m, x: m.act(x) + m.final(x))) == text
    assert refusal(Between(lambda m, x: m.act(m.drop(x)) + m.final(x), drop=nn.Dropout())) == text
    pool = nn.MaxPool2d(1)
    assert refusal(Between(lambda m, x: m.act(m.pool(x)) + m.final(x), pool=pool)) == text


FOLLOW = "must directly follow a convolution or linear layer"


@pytest.mark.parametrize(
    "function, text",
    [
        (lambda m, x: m.norm(m.act(x)), FOLLOW),
        (lambda m, x: m.act(m.norm(m.pool(x))), FOLLOW),
        (lambda m, x: m.act(m.norm(torch.relu(x))), FOLLOW),
        (lambda m, x: m.act(m.norm(m.more(x))), "must have running statistics and be the only one"),
        (lambda m, x: m.act(m.none(x)), "must have running statistics and be the only one"),
    ],
)
def test_normalisation_refused(function, text):
    none = nn.BatchNorm2d(4, track_running_stats=False)
    norm, more, pool = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.MaxPool2d(2)
    model = Between(function, norm=norm, more=more, none=none, pool=pool)
    assert refusal(model).endswith(f": BatchNorm2d {text}")


class Ends(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.begin, self.fc, self.act = act(), fc(6, 3), act()
        self.function = function

    def forward(self, x):
        return self.function(self, self.fc(self.begin(x)))


@pytest.mark.parametrize(
    "function, text",
    [
        (lambda m, x: (x, x), "Model must return one tensor, the logits"),
        (lambda m, x: m.act(x), "Model must end with a QuantLinear, whose outputs are the logits"),
        (lambda m, x: torch.relu(x), "Node fc: the logits must not pass a ReLU or pool"),
    ],
)
def test_end_refused(function, text):
    assert refusal(Ends(function), (6,)) == text


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4), (0,), (2.0, 3), ("a",)])
def test_input_shape_refused(shape):
    text = "Input_shape must be (features,), (channels, length) or (channels, height, width), not "
    assert refusal(nn.Sequential(act(), fc(6, 3)), shape) == f"{text}{shape}"


def test_weights_are_used_once():
    def function(m, x):
        return m.final(m.again(m.act(m.again(m.act(x)))))

    text = "Node again: QuantConv2d must be used once, not 2 times"
    assert refusal(Between(function, again=conv(4, 4, 1))) == text


def test_control_flow_is_refused():
    def function(m, x):
        return x if x.sum() > 0 else -x

    assert refusal(Ends(function), (6,)).startswith("Model cannot be traced: ")


def test_parameters_and_several_inputs_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.begin, self.fc, self.scale = act(), fc(6, 3), nn.Parameter(torch.ones(1))

        def forward(self, x):
            return self.fc(self.begin(x) * self.scale)

    class Two(Own):
        def forward(self, x, y):
            return self.fc(self.begin(x) + self.begin(y))

    assert refusal(Own(), (6,)) == "Node scale: a tensor of the model's own is not supported"
    assert refusal(Two(), (6,)) == "Model must have one input"
