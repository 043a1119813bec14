#!/usr/bin/env bash
# Compares what a model says here with what transformers says: `verify-model.sh DIRECTORY [--device cuda] [--tokens 64]`.
# Without a DIRECTORY a small model is made up on the spot. The Python is one that scripts/torch-env.sh finds or makes.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$PWD/target/verify-model
mkdir -p "$cache"

python=$(scripts/torch-env.sh)

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
