#!/usr/bin/env bash
# Builds the engine for the card that is here, and measures it by what the card itself gives: G15 to G18.
#
#   bench/gpu.sh                                        an NVIDIA card, where nvcc is; writes docs/proofs/engine-gpu.md
#   bench/gpu.sh --shape 0.6b --rounds 3                a smaller model
#   bench/gpu.sh --device metal                         a Mac
#   bench/gpu.sh --device cpu-tensors --shape tiny      the same rows without any, to try them; writes under target/
#
# Ends with 3 where there is nothing to measure with.
set -euo pipefail
cd "$(dirname "$0")/.."

cannot=3
device=
previous=
for word in "$@"; do
    [ "$previous" != --device ] || device=$word
    previous=$word
done
if [ -z "$device" ]; then
    device=cuda
    set -- --device cuda "$@"
fi

save=docs/proofs/engine-gpu.md
case "$device" in
    cuda | cuda:*)
        if ! command -v nvcc >/dev/null; then
            printf 'not measured: nvcc is not here, and the kernels for %s are built with it (try --device cpu-tensors --shape tiny)\n' \
                "$device" >&2
            exit "$cannot"
        fi
        features=cuda,flash-attn
        ;;
    metal)
        if [ "$(uname -s)" != Darwin ]; then
            printf 'not measured: Metal is on Macs alone\n' >&2
            exit "$cannot"
        fi
        features=metal,accelerate
        save=docs/proofs/engine-metal.md
        ;;
    *)
        features=
        save=target/engine-tensors.md
        ;;
esac

cargo build --locked --profile make-run -p bench-engine ${features:+--features "$features"}
exec target/make-run/bench-engine device --save "$save" "$@"
