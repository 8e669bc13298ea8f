# SPDX-License-Identifier: Apache-2.0
"""The manifest of a build: enough to repeat it, and to refuse where it would not be the same."""

import json
from pathlib import Path

from pydantic import ValidationError

from .config import Config
from .errors import BadInput, Failure
from .hw.cache import digest

__all__ = ["check_network", "check_result", "check_tools", "manifest", "read", "repeat"]

FORMAT = 1


def manifest(prepared, tools, built):
    """What a build was made of, and what came out.

    Parameters
    ----------
    prepared : Prepared
    tools : dict of str to str
        Packages and versions.
    built : list of BuildResult

    Returns
    -------
    dict
        For JSON; the same for the same build.
    """
    return {
        "format": FORMAT,
        "config": prepared.config.model_dump(),
        "network": prepared.subject.network.identity.hex(),
        "tools": tools,
        "boards": {
            result.manifest["board"]: {
                "bitstream": result.bitstream.name,
                "sha256": result.manifest["outputs"][result.bitstream.name],
                "manifest": digest(json.dumps(result.manifest, sort_keys=True)),
            }
            for result in built
        },
    }


def read(path):
    """A manifest from a file.

    Raises
    ------
    BadInput
        If it cannot be read or is none.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; a build without --locked writes it") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    keys = {"format": int, "config": dict, "network": str, "tools": dict, "boards": dict}
    if not isinstance(content, dict) or any(
            not isinstance(content.get(key), kind) for key, kind in keys.items()):
        raise BadInput(f"{path}: must be the manifest.json of a build, with {', '.join(keys)}")
    if content["format"] != FORMAT:
        raise BadInput(f"{path}: format must be {FORMAT}, not {content['format']}")
    return content


def repeat(path):
    """The configuration of a manifest, with the network that lies beside it instead of training.

    Returns
    -------
    Config, dict
        And the manifest.
    """
    path = Path(path)
    locked = read(path)
    try:
        config = Config.model_validate(locked["config"])
    except ValidationError as error:
        raise BadInput(f"{path}: config: {error.errors()[0]['msg']}") from None
    network = path.resolve().parent / "network"
    if not network.is_dir():
        raise BadInput(f"{path}: the folder network must lie beside it, as the build wrote it")
    model = config.model.model_copy(update={"network": str(network)})
    return config.model_copy(update={"model": model}), locked


def check_tools(locked, tools):
    """Refuse where a tool is of another version than the manifest says.

    Raises
    ------
    BadInput
        Naming each, with both versions.
    """
    other = [f"{name} is {tools.get(name, 'not installed')}, the manifest says {version}"
             for name, version in sorted(locked["tools"].items()) if tools.get(name) != version]
    if other:
        raise BadInput(f"--locked: {'; '.join(other)}. Install those versions, or build without "
                       "--locked")


def check_network(locked, network):
    """Refuse another network than the manifest's: training may depend on the processor."""
    if network.identity.hex() != locked["network"]:
        raise BadInput(
            f"--locked: the network is {network.identity.hex()}, the manifest says "
            f"{locked['network']}. Build from the manifest.json, which takes the network beside "
            "it, or without --locked")


def check_result(locked, made):
    """Fail where a bitstream is another one than the manifest says.

    Parameters
    ----------
    locked, made : dict
        Manifests.

    Raises
    ------
    Failure
    """
    for name, board in locked["boards"].items():
        found = made["boards"].get(name, {}).get("sha256", "not built")
        if found != board["sha256"]:
            raise Failure(f"--locked: the bitstream of {name} is {found}, the manifest says "
                          f"{board['sha256']}; nothing was written")
