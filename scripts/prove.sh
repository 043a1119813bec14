#!/usr/bin/env bash
# prove.sh kill|sim|fuzz: bigger editions of tests that `make test` runs small. What they printed is kept in
# docs/proofs/, with the seed, the machine and the time it took.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?kill, sim or fuzz}
seed=${TIDEGATE_SEED:-$(date -u +%s)}
export TIDEGATE_SEED=$seed
proof=docs/proofs/prove-$which.txt
mkdir -p docs/proofs

head_lines() {
    printf 'what:     %s\n' "$1"
    printf 'seed:     %s\n' "$seed"
    printf 'date:     %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
    printf 'commit:   %s\n' "$(git describe --always --dirty 2>/dev/null || echo none)"
    printf 'machine:  %s, %s cores, Linux %s\n' \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)"
    printf 'compiler: %s\n\n' "$(rustc --version)"
}

prove() { # prove TITLE COMMAND...
    local title=$1 start=$SECONDS status=0
    shift
    head_lines "$title" >"$proof"
    # The tests print where they ran; what is kept says it relative to the repository.
    "$@" 2>&1 | sed -u "s|$PWD/||g" | tee -a "$proof" || status=$?
    printf '\n%s after %d s\n' "$([ "$status" = 0 ] && echo passed || echo FAILED)" $((SECONDS - start)) | tee -a "$proof"
    echo "kept in $proof"
    return "$status"
}

run_tests() { cargo nextest run --locked --profile prove --no-tests fail "$@"; }

case $which in
    kill)
        export TIDEGATE_KILLS=${TIDEGATE_KILLS:-500}
        cargo build --locked --workspace --all-targets
        prove "$TIDEGATE_KILLS kills at random moments" run_tests -p journeys -E 'test(kill)'
        ;;
    sim)
        export TIDEGATE_SIM_SEEDS=${TIDEGATE_SIM_SEEDS:-1000000}
        prove "$TIDEGATE_SIM_SEEDS seeds of the simulator" run_tests -p journeys --test sim --cargo-profile make-run
        ;;
    fuzz)
        seconds=${FUZZ_SECS:-60}
        export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000)) BOLERO_RANDOM_ITERATIONS=${BOLERO_RANDOM_ITERATIONS:-1000000000}
        prove "each fuzz target for $seconds s" run_tests -p fuzz --cargo-profile make-run
        ;;
    *)
        echo "prove.sh kill|sim|fuzz" >&2
        exit 2
        ;;
esac
