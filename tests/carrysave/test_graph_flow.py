# SPDX-License-Identifier: Apache-2.0
"""A convolutional network from training to the UART pins."""

import json
import re

import pytest

from carrysave import arrows, flow
from carrysave.config import load_config
from carrysave.errors import BadInput
from carrysave.evidence import gather
from carrysave.hw.engine.choice import engine_of
from carrysave.hw.engine.graph_program import GraphProgram
from carrysave.inject import inject
from carrysave.report import render_report
from carrysave.sim.batch import BatchSimulator

TEXT = """
name = "pictures"
[model]
layers = [{ conv = 6, stride = 2 }, { residual = [{ conv = 6 }] }, { average_pool = 2 }]
[quantise]
weights = ["int6", "int3", "int5"]
[train]
epochs = 1
quantised_epochs = 1
[engine]
rows = 2
columns = 8
lanes = 4
[build]
boards = []
[verify]
engine_samples = 9
cocotb_samples = 1
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "pictures.toml"
    path.write_text(TEXT)
    return flow.prepare(load_config(path))


@pytest.fixture(scope="module")
def verified(prepared):
    return flow.verify(prepared, netlists=False, chain=False)


def test_every_arrow_is_exact(prepared, verified, compared):
    ledger, run = verified
    ran = [arrow for arrow in ledger.arrows if arrow.ran]
    assert [(arrow.source, arrow.target, arrow.method, arrow.status) for arrow in ran] == [
        ("trained", "golden", "whole data set", "exact"), ("trained", "golden", "proof", "exact"),
        ("golden", "rtl", "batch", "exact"), ("golden", "rtl", "cycle formula", "exact"),
        ("golden", "rtl", "cocotb", "exact")]
    assert isinstance(prepared.program, GraphProgram)
    assert sorted(prepared.program.weights) == [3, 5, 6]
    # Every element of every layer that computes, of 9 samples, and their classes.
    sizes = [values.shape[1] for values in run.values]
    assert ran[2].compared == 9 * (sum(sizes) + 1)
    compared(ran[2].compared)


@pytest.mark.parametrize("fault", ["weight:7", "weight:200:0", "scale:3:2", "bias:1:12"])
def test_a_flipped_bit_is_found(fault, prepared, compared):
    program = inject(prepared.program, fault)
    assert program.identity == prepared.program.identity
    tables = [getattr(program, name) != getattr(prepared.program, name)
              for name in ("weights", "scales", "channels")]
    assert tables == [fault.startswith(name) for name in ("weight", "scale", "bias")]
    engine = engine_of(program)
    run = arrows.run_engine(engine, prepared.subject.x[:9],
                            simulator=BatchSimulator(engine, short=True))
    arrow = arrows.engine_arrow(prepared.subject, program, run)
    assert arrow.status == "differs" and arrow.first["layer"] in [
        layer.name for layer in program.layers]
    compared(arrow.compared)


@pytest.mark.parametrize("fault, message", [
    ("weight:9999", "--inject: weight has indices 0 to 617 and bits 0 to 4, not 9999 and 4"),
    ("bias:0:99", None),
])
def test_faults_that_are_nowhere(fault, message, prepared):
    with pytest.raises(BadInput, match=re.escape(message) if message else "bias has indices"):
        inject(prepared.program, fault)


def test_report(prepared, verified):
    ledger, run = verified
    evidence = json.loads(json.dumps(gather(prepared, ledger, run, [])))
    page = render_report(evidence)
    for text in ("8 × 8 × 1", "average pool", "add", "of 4 lanes"):
        assert text in page


@pytest.mark.parametrize("change, message", [
    (("lanes = 4", "lanes = 3"), "engine.lanes must divide the 8 columns, not 3"),
    (("lanes = 4", "lanes = 4\ndrains = 1"),
     "engine.drains: only for stacks of linear layers; leave it out"),
    (("conv = 6, stride = 2", "conv = 0"), "model.layers.0.conv: "),
    (("[train]", "[data]\nshape = [3, 5]\n[train]"), "model.layers or data.shape: Shape must be "),
    (("[model]", "[model]\nhidden = [3]"), "model: give hidden or layers, not both"),
    (("lanes = 4", "lanes = 4\nweight_words = 5"), "engine: Layer conv1: needs "),
    (('["int6", "int3", "int5"]', '["int6", "int3"]'), "quantise.weights must be one format, or 3, "
     "one for each layer with weights, not 2"),
])
def test_bad_input(change, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(TEXT.replace(*change))
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        flow.prepare(load_config(path))
    assert "\n" not in str(caught.value)
