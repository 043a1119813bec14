#!/usr/bin/env bash
# Builds the engine's benchmark, and measures layers with the shapes of large models, filled with random weights. It needs
# some 5 GiB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
    *" --save "* | *" --only "*) save=() ;; # some of the rows are no proof
    *) save=(--save docs/proofs/engine-layers.md) ;;
esac
# A layer's memory is the growth of the process. What an earlier model freed must have left it by then: with a fixed threshold
# the allocator maps each matrix by itself, and unmaps it when it is freed.
export MALLOC_MMAP_THRESHOLD_=1048576
cargo build --locked --profile make-run -p bench-engine
exec target/make-run/bench-engine layers "${save[@]}" "$@"
