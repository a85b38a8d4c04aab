#!/bin/sh
# First stage of every image: a virtual environment with what the locks name, and nothing else.
# Usage: install.sh REQUIREMENTS.lock KFP.lock
#
# --no-deps, because a lock is complete, and leaves out on purpose what nothing imports (overrides.txt). It also leaves
# out what kfp requires: that is for the compiler, the executor in a pod needs none of it.
#
# Both secrets are optional, and neither stays in the image: pip.conf (an index of your own, credentials, a proxy) and
# ca.crt (certificates that pip shall trust).
set -eu

export PIP_CONFIG_FILE=/run/secrets/pip.conf
if [ -e /run/secrets/ca.crt ]; then export PIP_CERT=/run/secrets/ca.crt; fi

python3 -m venv /opt/venv
/opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
    --no-compile --no-deps --require-hashes --only-binary :all: --requirement "$1" --requirement "$2"

# What only installing or compiling needs. Headers alone are 350 MB in TensorFlow.
packages=$(echo /opt/venv/lib/python3.*/site-packages)
rm -rf "$packages/tensorflow/include" "$packages"/nvidia/*/include
grep -q '^setuptools==' "$1" || /opt/venv/bin/pip uninstall --quiet --yes setuptools
/opt/venv/bin/pip uninstall --quiet --yes pip

# Bytecode that isn't compared with its source's time: builders round times when they copy, and then Python would
# compile everything at every start, since nobody can write it into the image.
/opt/venv/bin/python -m compileall -f -q -j 0 --invalidation-mode unchecked-hash "$packages"
