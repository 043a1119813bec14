#!/usr/bin/env bash
# Prints a Python that has torch, transformers and peft, for what is compared with them. PYTHON names one that is there;
# without it one is made under target/, which takes some minutes and six gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${PYTHON:-}" ]; then
    printf '%s\n' "$PYTHON"
    exit 0
fi
wanted="torch==2.15.0 transformers==5.23.0 peft==0.21.2 jinja2==3.1.6"
place=$PWD/target/torch
if [ "$(cat "$place/.stamp" 2>/dev/null)" != "$wanted" ]; then
    printf 'installing torch, transformers and peft under target/torch\n' >&2
    rm -rf "$place"
    python3 -m venv "$place"
    # shellcheck disable=SC2086 # each is a word
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check $wanted >&2
    printf '%s\n' "$wanted" >"$place/.stamp"
fi
printf '%s\n' "$place/bin/python"
