#!/usr/bin/env bash
# test.sh [gates | whole | TIER...]: the gates, then what any change can break, then the tiers of tests that what changed since the last run of
# everything names (tests/tiers.toml), or these. `gates` stops before the tests; `whole` runs everything, and writes docs/proofs/whole.txt where it passes.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_PROGRESS_WHEN=${CARGO_TERM_PROGRESS_WHEN:-auto}
# What properties, the simulator and what takes turns draw from: another each day, so that in a month all is seen.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-$(date -u +%Y%m%d)}
export TIDEGATE_TIMES=$PWD/target/times
began=$SECONDS

# A disk that is full in the middle of a build ends in messages of LLVM or a linker. The GiB that a build of everything from nothing takes,
# and one of what every run has. The build's own output counts as free, since it is written anew.
case "${1:-}" in core | gates) disk_gib=6 ;; *) disk_gib=8 ;; esac
disk_gib=${TIDEGATE_DISK_GIB:-$disk_gib}
free_mib() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }
mkdir -p target/debug
kept_mib=$(du -sk target/debug | awk '{ print int($1 / 1024) }')
if [ $((($(free_mib target) + kept_mib) / 1024)) -lt "$disk_gib" ]; then
    printf '%s\n' "The disk of $(cd target && pwd -P) has $(free_mib target) MiB free, and target/debug has $kept_mib MiB; make test needs $disk_gib GiB of both." \
        "Free some (\`cargo clean\` removes other builds, too), build less (\`make test ARGS=core\`), or link target to a folder on a larger disk." \
        "TIDEGATE_DISK_GIB=N sets how much is needed." >&2
    exit 1
fi

rm -rf "$TIDEGATE_TIMES"
mkdir -p "$TIDEGATE_TIMES"

step() { # step TITLE COMMAND...
    local title=$1 start=$SECONDS before
    shift
    printf '\n==> %s\n' "$title"
    before=$(core_seconds)
    if ! "$@"; then
        printf '==> %s FAILED after %d s: %s\n' "$title" $((SECONDS - start)) "$*" >&2
        for place in target "${TMPDIR:-/tmp}"; do
            [ "$(free_mib "$place")" -ge 512 ] || printf 'The disk of %s is full: free some (`cargo clean` empties target), or name another folder for temporary files in TMPDIR.\n' "$place" >&2
        done
        exit 1
    fi
    times >"$TIDEGATE_TIMES/now"
    awk -v title="$title" -v before="$before" -v wall=$((SECONDS - start)) 'NR == 2 { split($0, part, /[ms ]+/)
        spent = part[1] * 60 + part[2] + part[3] * 60 + part[4] - before
        printf "==> %s: %d s, %.0f core-seconds\n", title, wall, spent
        printf "%s\t%.2f\n", title, spent >> ENVIRON["TIDEGATE_TIMES"] "/steps" }' "$TIDEGATE_TIMES/now"
}
# What this shell's children have taken so far.
core_seconds() { awk '{ sum += $2 } END { print sum + 0 }' FS='\t' "$TIDEGATE_TIMES/steps" 2>/dev/null || echo 0; }

# What can't be installed is said, and what needs it fails; what needs none of it still runs.
incomplete=
environment() { scripts/test-env.sh "$@" || incomplete=1; }

printf 'seed of the day: %s (PROPTEST_RNG_SEED and TIDEGATE_SEED choose others)\n' "$PROPTEST_RNG_SEED"
step "environment" environment
. scripts/node.sh || incomplete=1 # which the journeys start
# By itself and first: what it says decides what is built.
step "checks" cargo build --locked --quiet -p xtask
xtask=target/debug/xtask
case "${1:-}" in gates) asked=whole ;; *) asked=$* ;; esac
# shellcheck disable=SC2086 # names of tiers, each a word
chosen=$("$xtask" affected $asked)
eval "$chosen"
# Before anything of ours is compiled: what became too dear fails here, but where it is measured.
[ "${1:-}" = whole ] || step "budget" "$xtask" budget
step "format" cargo fmt --all --check
# The registry of operations declares their folders, which cargo fmt doesn't see.
step "format of operations" find crates/operations/src -name '*.rs' -exec rustfmt --edition 2024 --check {} +
[ ! -x .venv/bin/typos ] || step "spelling" .venv/bin/typos
# shellcheck disable=SC2154,SC2086 # `affected` printed it
[ -z "$tiers" ] || step "environment of tiers" environment $tiers
# Without its packages the gateway is built without a console.
if [ -f console/node_modules/.stamp ]; then
    case " $tiers " in *" console "*) step "console" scripts/console.sh test ;; *) step "console" scripts/console.sh ;; esac
fi
step "documentation" scripts/docs.sh "$xtask"
for check in tidy licences duplicates features proofs; do step "$check" "$xtask" $check; done
if [ "${1:-}" = gates ]; then
    # shellcheck disable=SC2154,SC2086
    step "clippy" cargo clippy --locked $selection --all-targets -- -D warnings
    # What `make run` starts first, and what work on the gateway builds.
    step "clippy without the engine" cargo clippy --locked -p tidegate --all-targets --no-default-features -- -D warnings
    exit 0
fi
# Clippy compiles, and what either it or rustc warns of fails. The text between the flags is how `cargo clippy` separates its own.
# By its name alone: a path would be part of the names of symbols, and so of what is inlined.
export PATH="$PWD/scripts:$PATH"
# Incremental code generation inlines less, and the counts of bench/hot-path.json are of a build without it. It also costs time and tens of
# gigabytes where everything is built once.
export CARGO_INCREMENTAL=0
export RUSTC_WORKSPACE_WRAPPER=rustc-for-tests.sh CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
host=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export "CARGO_TARGET_${host}_RUNNER=counted.sh"
targets=(--lib --bins --tests)
[ "$asked" != whole ] || targets+=(--examples)
# One build for all tests: the journeys run target/debug/tidegate, and building everything at once resolves features once, so that nothing is compiled a second time.
# shellcheck disable=SC2086
step "build" env RUSTC_WRAPPER=counted.sh cargo build --locked $selection "${targets[@]}"
# Programs that must not compile; nextest runs none of them. Of all that was built, as it was built: some crates alone have other features.
# shellcheck disable=SC2086
step "doc tests" env RUSTDOC=rustdoc-for-tests.sh cargo test --locked --quiet --doc $selection
# shellcheck disable=SC2086
step "tests" scripts/in-memory.sh cargo nextest run --locked $selection "${targets[@]}" --profile ci
"$xtask" budget show
if [ "$asked" = whole ]; then
    # The example of CONTRIBUTING.md. No other crate needs to know of it: `Operation` is non-exhaustive, so none can match all of them.
    step "a new operation" cargo nextest run --locked -p operations --features morse
    step "clippy without the engine" cargo clippy --locked -p tidegate --no-default-features -- -D warnings
    step "Helm chart" scripts/check-helm.sh
    step "accelerators" scripts/check-accelerators.sh
    . scripts/proof-head.sh
    {
        proof_head "every gate and every test" "$PROPTEST_RNG_SEED"
        "$xtask" budget tiers
        printf '\npassed after %d s\n' $((SECONDS - began))
    } | tee target/whole.txt
    if [ -z "$(git status --porcelain --untracked-files=no -- . ':!docs/proofs')" ]; then
        cp target/whole.txt docs/proofs/whole.txt
        printf 'kept in docs/proofs/whole.txt\n'
    else
        printf 'not kept: files have changed since the last commit, and a proof names the commit that it is of\n'
    fi
fi
if [ -n "$incomplete" ]; then
    printf '\nwhat ran has passed, but not everything that it needs could be installed: see MISSING above\n' >&2
    exit 1
fi
# shellcheck disable=SC2154
[ -z "$left" ] || printf '\nleft to make test-whole: %s\n' "$left"
printf '\nall passed in %d s\n' $((SECONDS - began))
