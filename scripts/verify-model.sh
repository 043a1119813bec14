#!/usr/bin/env bash
# Compares what a model says here with what transformers says: `verify-model.sh DIRECTORY [--device cuda] [--tokens 64]`.
# Without a DIRECTORY a small model is made up on the spot. PYTHON names an interpreter that has torch and transformers;
# without it one is made under target/, which takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$PWD/target/verify-model
mkdir -p "$cache"

python=${PYTHON:-$cache/python/bin/python}
if [ -z "${PYTHON:-}" ] && [ ! -e "$cache/python/.done" ]; then
    printf 'installing torch and transformers under %s\n' "${cache#"$PWD"/}"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$python" -m pip install --quiet --disable-pip-version-check torch==2.15.0 transformers==5.23.0 jinja2==3.1.6
    touch "$cache/python/.done"
fi

features=
previous=
for word in "$@"; do
    case "$previous $word" in
        "--device cuda"*) features=cuda,flash-attn ;;
        "--device metal") features=metal ;;
    esac
    previous=$word
done
cargo build --locked --profile make-run -p engine --example verify_model ${features:+--features "$features"}
program=$PWD/target/make-run/examples/verify_model
if [ $# = 0 ] || [ "${1#--}" != "$1" ]; then
    "$program" make "$cache/made"
    set -- "$cache/made" "$@"
fi
exec "$python" scripts/verify-model.py "$program" "$@"
