#!/usr/bin/env bash
# Prints a directory with cmake and ninja, for the sources in C++ that are run beside. It is made under target/ when it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

wanted="cmake==4.4.4 ninja==1.13.2"
place=$PWD/target/cmake
if [ "$(cat "$place/.stamp" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$place"
    python3 -m venv "$place"
    # shellcheck disable=SC2086 # each is a word
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check $wanted >&2
    printf '%s\n' "$wanted" >"$place/.stamp"
fi
printf '%s\n' "$place/bin"
