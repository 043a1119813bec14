#!/usr/bin/env bash
# Every gate and every test, the cheap ones first. `test.sh gates` stops before the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_PROGRESS_WHEN=${CARGO_TERM_PROGRESS_WHEN:-auto}
began=$SECONDS

step() { # step TITLE COMMAND...
    local title=$1 start=$SECONDS
    shift
    printf '\n==> %s\n' "$title"
    if ! "$@"; then
        printf '==> %s FAILED after %d s: %s\n' "$title" $((SECONDS - start)) "$*" >&2
        exit 1
    fi
    printf '==> %s: %d s\n' "$title" $((SECONDS - start))
}

step "environment" scripts/test-env.sh
. scripts/node.sh # which the journeys start
step "console" scripts/console.sh test
step "documentation" scripts/docs.sh
step "format" cargo fmt --all --check
# The registry of operations declares their folders, which cargo fmt doesn't see.
step "format of operations" find crates/operations/src -name '*.rs' -exec rustfmt --edition 2024 --check {} +
step "spelling" .venv/bin/typos
step "accelerators" scripts/check-accelerators.sh
step "Helm chart" scripts/check-helm.sh
own_gates() { # own_gates XTASK...
    step "tidy" "$@" tidy
    step "licences" "$@" licences
    step "duplicates" "$@" duplicates
    step "features" "$@" features
    step "proofs" "$@" proofs
}
if [ "${1:-}" = gates ]; then
    own_gates cargo xtask
    step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
    # What `make run` starts first, and what work on the gateway builds.
    step "clippy without the engine" cargo clippy --locked --workspace --all-targets --no-default-features -- -D warnings
    exit 0
fi
# Clippy compiles, and what either it or rustc warns of fails. The text between the flags is how `cargo clippy` separates its own.
# By its name alone: a path would be part of the names of symbols, and so of what is inlined.
export PATH="$PWD/scripts:$PATH"
# Incremental code generation inlines less, and the counts of bench/hot-path.json are of a build without it. It also costs time and tens of
# gigabytes where everything is built once.
export CARGO_INCREMENTAL=0
export RUSTC_WORKSPACE_WRAPPER=rustc-for-tests.sh CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
# What `make run` starts first, and what work on the gateway builds. Only the program itself differs.
step "build without the engine" cargo build --locked --workspace --all-targets --no-default-features
# One build for all tests: the journeys run target/debug/tidegate, and building everything at once resolves features once, so that nothing is compiled a second time.
step "build" cargo build --locked --workspace --all-targets
# As it was built with all others: `cargo xtask` compiles its dependencies again, with the features that it alone needs.
own_gates target/debug/xtask
# Programs that must not compile; nextest runs none of them. Of the whole workspace, as it was built: some crates alone have other features.
step "doc tests" env RUSTDOC=rustdoc-for-tests.sh cargo test --locked --quiet --doc --workspace
step "tests" scripts/in-memory.sh cargo nextest run --locked --workspace --profile ci
# The example of CONTRIBUTING.md. No other crate needs to know of it: `Operation` is non-exhaustive, so none can match all of them.
step "a new operation" cargo nextest run --locked -p operations --features morse
target/debug/xtask times
printf '\nall passed in %d s\n' $((SECONDS - began))
