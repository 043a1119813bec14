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
# The cryptography that the node brings is C, which a machine that is no Mac has no headers for. A check links nothing, so its
# build is left out there, in the way that its makers left for pages of documentation.
[ "$(uname -s)" = Darwin ] || export DOCS_RS=1
step "node" cargo check --locked --target "$target" -p node
printf 'checked for %s: it compiles; nothing was linked, and nothing ran\n' "$target"
