#!/usr/bin/env bash
# Compiles the engine's code for accelerators, as far as `cargo check` does, with the toolchains that are here: for Macs where the
# target's standard library is installed, for NVIDIA's cards where nvcc is. Installs nothing, and says what it left out.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    scripts/check-metal.sh
else
    printf 'metal: not checked, the standard library for %s is not here (rustup target add %s, or make check-metal)\n' "$target" "$target"
fi
if command -v nvcc >/dev/null; then
    cargo check --locked -p engine --features cuda
else
    printf 'cuda: not checked, nvcc is not here\n'
fi
