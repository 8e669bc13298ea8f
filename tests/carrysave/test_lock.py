# SPDX-License-Identifier: Apache-2.0
"""Builds that must equal an earlier one."""

import json
from types import SimpleNamespace

import pytest

from carrysave import lock
from carrysave.errors import BadInput, Failure

TOOLS = {"pyosys": "0.69", "torch": "2.13.0"}


@pytest.fixture
def manifest(prepared, tmp_path):
    result = SimpleNamespace(
        bitstream=tmp_path / "bees.bin",
        manifest={"board": "icebreaker", "outputs": {"bees.bin": "ab" * 32}})
    made = lock.manifest(prepared, TOOLS, [result])
    assert json.loads(json.dumps(made)) == made
    return made


def test_the_same(manifest, prepared):
    lock.check_tools(manifest, TOOLS)
    lock.check_network(manifest, prepared.subject.network)
    lock.check_result(manifest, manifest)


def test_another_tool_is_refused_with_both_versions(manifest):
    with pytest.raises(BadInput, match=r"^--locked: pyosys is 0\.70, the manifest says 0\.69\. "):
        lock.check_tools(manifest, TOOLS | {"pyosys": "0.70"})
    with pytest.raises(BadInput, match="torch is not installed, the manifest says 2.13.0"):
        lock.check_tools(manifest, {"pyosys": "0.69"})


def test_another_network_is_refused(manifest):
    with pytest.raises(BadInput, match="^--locked: the network is 00, the manifest says "):
        lock.check_network(manifest, SimpleNamespace(identity=b"\0"))


def test_another_bitstream_fails(manifest):
    other = manifest | {"boards": {"icebreaker": {"sha256": "cd"}}}
    with pytest.raises(Failure, match="the bitstream of icebreaker is cd, the manifest says abab"):
        lock.check_result(manifest, other)
    with pytest.raises(Failure, match="is not built"):
        lock.check_result(manifest, manifest | {"boards": {}})


def test_repeat(manifest, prepared, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="the folder network must lie beside it"):
        lock.repeat(path)
    (tmp_path / "network").mkdir()
    config, locked = lock.repeat(path)
    assert locked == manifest and config.model.network == str(tmp_path / "network")
    assert config.build == prepared.config.build and config.engine == prepared.config.engine


@pytest.mark.parametrize("text, message", [
    ("{", "cannot be read"), ("[]", r"must be the manifest\.json of a build"),
    ("{}", r"must be the manifest\.json of a build"),
    ('{"format": 2, "config": {}, "network": "", "tools": {}, "boards": {}}',
     "format must be 1, not 2")])
def test_what_is_no_manifest(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        lock.read(path)


def test_a_configuration_that_is_wrong(manifest, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest | {"config": {"name": "x", "color": 1}}))
    with pytest.raises(BadInput, match="config: Extra inputs"):
        lock.repeat(path)
