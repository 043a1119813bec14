#!/usr/bin/env bash
# Compiles the engine with the feature `metal`, and the node, for Macs with Apple's own processors, as far as `cargo check` does:
# nothing is linked, and nothing runs. Ends with 3 where the target's standard library can't be had.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
cannot=3

libraries=$(rustc --print target-libdir --target "$target")
if [ ! -d "$libraries" ]; then
    if ! command -v rustup >/dev/null || ! rustup target add "$target"; then
        printf 'not checked: the standard library for %s is not here, and rustup can not add it\n' "$target" >&2
        exit "$cannot"
    fi
fi

step() { # step WHAT COMMAND...
    printf '==> %s\n' "$1"
    shift
    "$@"
}

step "engine, with Metal" cargo check --locked --target "$target" -p engine --features metal
step "engine, with Metal and Accelerate" cargo check --locked --target "$target" -p engine --features metal,accelerate
# The cryptography that the node brings is C, which only a Mac has headers for. A check links nothing: elsewhere a compiler that
# makes nothing stands in for C's, and what is checked is Rust.
if [ "$(uname -s)" != Darwin ]; then
    stand_in=$PWD/target/check-metal
    mkdir -p "$stand_in"
    printf '#!/bin/sh\nwhile [ $# -gt 0 ]; do\n    if [ "$1" = -o ]; then : >"$2"; fi\n    shift\ndone\n' >"$stand_in/cc"
    chmod +x "$stand_in/cc"
    export CC_aarch64_apple_darwin=$stand_in/cc AR_aarch64_apple_darwin=true
fi
step "node" cargo check --locked --target "$target" -p node
printf 'checked for %s: it compiles; nothing was linked, and nothing ran\n' "$target"
