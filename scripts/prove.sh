#!/usr/bin/env bash
# prove.sh kill|batches|sim|policy|fuzz|outage|rotation|scale|fleet|regions|overload|reconciliation|replay|state|tasks|runs|heartbeats|tunnels|placement|peers|nodes|upgrade|flakes: bigger editions of tests that `make test` runs small. What they
# printed is kept in docs/proofs/, with the seed, the commit, the machine and the time it took, if it passed: a run that failed
# replaces no proof, and one of changed sources would prove nothing of a commit.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?kill, batches, sim, policy, fuzz, outage, rotation, scale, fleet, regions, overload, reconciliation, replay, state, tasks, runs, heartbeats, tunnels, placement, peers, nodes, upgrade or flakes}
seed=${TIDEGATE_SEED:-$(date -u +%s)}
export TIDEGATE_SEED=$seed
proof=docs/proofs/prove-$which.txt
run=target/prove-$which.txt
mkdir -p docs/proofs target
changed=$(git status --porcelain --untracked-files=no -- . ':!docs/proofs')
if [ -n "$changed" ]; then
    printf 'These files have changed since the last commit. Commit or stash them first: a proof names the commit that it is of.\n%s\n' "$changed" >&2
    exit 1
fi

head_lines() {
    printf 'what:     %s\n' "$1"
    printf 'seed:     %s\n' "$seed"
    printf 'date:     %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
    printf 'commit:   %s\n' "$(git rev-parse --short HEAD)"
    printf 'schema:   %s\n' "$(ls crates/store/migrations/sqlite | tail -n 1 | cut -d _ -f 1)"
    printf 'machine:  %s, %s cores, Linux %s\n' \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)"
    printf 'compiler: %s\n\n' "$(rustc --version)"
}

prove() { # prove TITLE COMMAND...
    local title=$1 start=$SECONDS status=0
    shift
    head_lines "$title" >"$run"
    # The tests print where they ran; what is kept says it relative to the repository.
    "$@" 2>&1 | sed -u "s|$PWD/||g" | tee -a "$run" || status=$?
    printf '\n%s after %d s\n' "$([ "$status" = 0 ] && echo passed || echo FAILED)" $((SECONDS - start)) | tee -a "$run"
    if [ "$status" = 0 ]; then
        mv "$run" "$proof"
        echo "kept in $proof"
    else
        echo "not kept; the output is in $run" >&2
    fi
    return "$status"
}

run_tests() { cargo nextest run --locked --profile prove --no-tests fail "$@"; }
# Before the proof begins: what the compiler prints is no part of it, nor is its time.
build_tests() { cargo nextest run --locked --no-run "$@"; }
# The build of `make test`: another choice of packages would have other features, and compile everything again.
journeys() { run_tests --workspace -j 1 -E "package(journeys) & ($1)"; }
# For what is asked of time or number; a program that was built before may be named.
fast_build() {
    [ -z "${TIDEGATE_BIN:-}" ] || return 0
    cargo build --locked --profile make-run -p tidegate
    export TIDEGATE_BIN=$PWD/target/make-run/tidegate
}
build_all() { cargo build --locked --workspace --all-targets; }

case $which in
    kill)
        export TIDEGATE_KILLS=${TIDEGATE_KILLS:-500}
        build_all
        prove "$TIDEGATE_KILLS kills at random moments" journeys 'test(/^kill::/)'
        ;;
    batches)
        export TIDEGATE_BATCH_ITEMS=${TIDEGATE_BATCH_ITEMS:-100000}
        build_all
        fast_build
        prove "a batch of $TIDEGATE_BATCH_ITEMS requests on two gateways, of which one is killed" \
            journeys 'test(a_batch_on_two_gateways)'
        ;;
    sim)
        export TIDEGATE_SIM_SEEDS=${TIDEGATE_SIM_SEEDS:-1000000} TIDEGATE_LEASE_SEEDS=${TIDEGATE_LEASE_SEEDS:-10000}
        build_tests -p journeys --test sim --cargo-profile make-run
        prove "$TIDEGATE_SIM_SEEDS seeds of exchanges, $TIDEGATE_LEASE_SEEDS of budgets that replicas share" \
            run_tests -p journeys --test sim --cargo-profile make-run
        ;;
    policy)
        export POLICY_CASES=${POLICY_CASES:-10000} PROPTEST_RNG_SEED=$seed
        build_tests --workspace
        prove "$POLICY_CASES generated workspaces, routes and policies against an oracle" \
            run_tests --workspace --no-capture -E 'package(plan) & test(/^policy_oracle::/)'
        ;;
    fuzz)
        seconds=${FUZZ_SECS:-60}
        export BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000)) BOLERO_RANDOM_ITERATIONS=${BOLERO_RANDOM_ITERATIONS:-1000000000}
        build_tests -p fuzz --cargo-profile make-run
        prove "each fuzz target for $seconds s" run_tests -p fuzz --cargo-profile make-run --no-fail-fast
        ;;
    outage)
        export TIDEGATE_OUTAGE_SECS=${TIDEGATE_OUTAGE_SECS:-600}
        build_all
        prove "the database is away for $TIDEGATE_OUTAGE_SECS s" journeys 'test(the_database_goes_away)'
        ;;
    rotation)
        # Asked for, so that at least a thousand come of it.
        export TIDEGATE_WRAPPED_KEYS=${TIDEGATE_WRAPPED_KEYS:-100000}
        export TIDEGATE_ROTATION_RATE=${TIDEGATE_ROTATION_RATE:-1100} TIDEGATE_ROTATION_CLIENTS=${TIDEGATE_ROTATION_CLIENTS:-128}
        build_all
        fast_build
        prove "workspace and master keys change under load" journeys 'test(/^rotation::/)'
        ;;
    scale)
        export TIDEGATE_SCALE_RECORDS=${TIDEGATE_SCALE_RECORDS:-1000000}
        fast_build
        build_tests -p journeys --cargo-profile make-run
        prove "what pages ask of $TIDEGATE_SCALE_RECORDS stored requests, on each database" \
            run_tests -p journeys --cargo-profile make-run --no-fail-fast -j 1 -E 'test(/^scale::/)'
        ;;
    fleet)
        export TIDEGATE_CHANGES=${TIDEGATE_CHANGES:-300} TIDEGATE_RESTARTS=${TIDEGATE_RESTARTS:-50}
        build_all
        prove "three gateways under load: $TIDEGATE_CHANGES changes, $TIDEGATE_RESTARTS restarts, a silent database" \
            journeys 'test(/^fleet::/)'
        ;;
    regions)
        export TIDEGATE_REGION_SECS=${TIDEGATE_REGION_SECS:-60} TIDEGATE_REGION_RATE=${TIDEGATE_REGION_RATE:-200}
        build_all
        fast_build
        prove "two own regions, one silent and then limiting, $TIDEGATE_REGION_SECS s each at $TIDEGATE_REGION_RATE requests a second" \
            journeys 'test(two_own_regions)'
        ;;
    overload)
        export TIDEGATE_OVERLOAD_SECS=${TIDEGATE_OVERLOAD_SECS:-60} TIDEGATE_OVERLOAD_CLIENTS=${TIDEGATE_OVERLOAD_CLIENTS:-5}
        export TIDEGATE_OVERLOAD_IN_FLIGHT=${TIDEGATE_OVERLOAD_IN_FLIGHT:-32} TIDEGATE_OVERLOAD_ARRIVALS=${TIDEGATE_OVERLOAD_ARRIVALS:-7200}
        export TIDEGATE_OVERLOAD_LATER_PERCENT=${TIDEGATE_OVERLOAD_LATER_PERCENT:-5}
        build_all
        fast_build
        prove "a workspace at a hundred times its neighbour's load for $TIDEGATE_OVERLOAD_SECS s, and three times what a project may do at once" \
            journeys 'test(/^neighbours::/) | test(three_times_what_a_project)'
        ;;
    reconciliation)
        export TIDEGATE_RECONCILED_RECORDS=${TIDEGATE_RECONCILED_RECORDS:-1000000}
        build_all
        fast_build
        prove "a month of $TIDEGATE_RECONCILED_RECORDS generated requests, also stored on each database, against the files that a provider makes of it" \
            run_tests --workspace -j 1 \
            -E '(package(reconciliation) & test(a_month_with)) | (package(journeys) & test(a_stored_month_with))'
        ;;
    replay)
        export TIDEGATE_REPLAY_CANDIDATES=${TIDEGATE_REPLAY_CANDIDATES:-1000}
        build_tests -p replay --cargo-profile make-run
        prove "$TIDEGATE_REPLAY_CANDIDATES made-up candidates whose truth is known, judged by the gates of replays" \
            run_tests -p replay --cargo-profile make-run --no-capture -E 'test(the_gates_let_hardly)'
        ;;
    state)
        export TIDEGATE_STATE_EVENTS=${TIDEGATE_STATE_EVENTS:-10000}
        build_all
        fast_build
        prove "a session of $TIDEGATE_STATE_EVENTS events is appended to, exported and purged" \
            run_tests --workspace --no-capture -E 'package(journeys) & test(/^state_figures::/)'
        ;;
    tasks)
        export TIDEGATE_TASKS=${TIDEGATE_TASKS:-1010} TIDEGATE_KILLS=${TIDEGATE_KILLS:-100} TIDEGATE_QUEUED=${TIDEGATE_QUEUED:-10000}
        build_all
        fast_build
        prove "$TIDEGATE_KILLS kills during $TIDEGATE_TASKS tasks, and a queue of $TIDEGATE_QUEUED" \
            run_tests --workspace -j 1 --no-capture \
            -E 'package(journeys) & (test(a_long_queue_is_drained) | test(a_kill_loses_no_task) | test(two_gateways_share_a_queue))'
        ;;
    runs)
        export TIDEGATE_QUEUED=${TIDEGATE_QUEUED:-10000}
        build_all
        fast_build
        prove "what a run costs beside a chat request, $TIDEGATE_QUEUED of each" \
            run_tests --workspace -j 1 --no-capture -E 'package(journeys) & test(a_run_that_is_waited_for)'
        ;;
    heartbeats)
        export TIDEGATE_NODES=${TIDEGATE_NODES:-10000}
        build_all
        fast_build
        prove "the heartbeats of $TIDEGATE_NODES nodes" journeys 'test(/^heartbeats::/)'
        ;;
    placement)
        export TIDEGATE_PLACEMENT_NODES=${TIDEGATE_PLACEMENT_NODES:-200} TIDEGATE_PLACEMENT_SECS=${TIDEGATE_PLACEMENT_SECS:-900}
        export TIDEGATE_PLACEMENT_SVG=$PWD/docs/proofs/placement.svg
        build_tests -p placement --cargo-profile make-run
        prove "$TIDEGATE_PLACEMENT_NODES simulated nodes, $TIDEGATE_PLACEMENT_SECS s of conversations, placed in four ways" \
            run_tests -p placement --cargo-profile make-run --no-capture -j 1 -E 'test(placement_by_expected_time)'
        ;;
    tunnels)
        export TIDEGATE_TUNNELLED=${TIDEGATE_TUNNELLED:-5000}
        build_all
        fast_build
        prove "$TIDEGATE_TUNNELLED requests through a tunnel, beside as many to the node's address" journeys 'test(/^tunnel_figures::/)'
        ;;
    peers)
        export TIDEGATE_PEERS_FULL=1
        build_all
        prove "200 MB from three peers of which one dies and one lies; peers apart and alike" \
            run_tests --workspace -j 1 --no-capture -E 'package(journeys) & test(/^peers/)'
        ;;
    nodes)
        export TIDEGATE_FLEET_MB=${TIDEGATE_FLEET_MB:-200} TIDEGATE_FLEET_ROUNDS=${TIDEGATE_FLEET_ROUNDS:-4}
        build_all
        prove "a gateway and five nodes in namespaces: $TIDEGATE_FLEET_MB MiB from peers, $TIDEGATE_FLEET_ROUNDS rounds of kills, partitions, drains, floods and revocations under traffic" \
            journeys 'test(/^whole_fleet::/)'
        ;;
    upgrade)
        # The version before is the last of this line of history that has the migration before as its newest.
        migrations=crates/store/migrations/postgres
        newest=$(ls "$migrations" | tail -n 1)
        number=$(printf '%04d' $((10#${newest%%_*} - 1)))
        before=$(git rev-list --first-parent HEAD | while read -r commit; do
            case $(git ls-tree --name-only "$commit" "$migrations/" | tail -n 1) in
                "$migrations/${number}_"*) echo "$commit" && break ;;
            esac
        done)
        if [ -z "$before" ]; then
            echo "no commit ends with migration $number: more than one came at once, and replicas of the version before bear one" >&2
            exit 1
        fi
        older=$PWD/target/older/$before
        if [ ! -x "$older/tidegate" ]; then
            mkdir -p "$older"
            git worktree add --detach "$older/source" "$before"
            (cd "$older/source" && cargo build --locked -p tidegate --target-dir "$older/target")
            cp "$older/target/debug/tidegate" "$older/tidegate"
            git worktree remove --force "$older/source"
        fi
        export TIDEGATE_BIN_BEFORE=$older/tidegate
        build_all
        prove "an upgrade from the version before $newest, three gateways under load" \
            journeys 'test(/^upgrade::/)'
        ;;
    flakes)
        runs=${TIDEGATE_FLAKE_RUNS:-20} only=${TIDEGATE_FLAKES:-all()}
        build_all
        # Two neighbours that take all they can get, for as long as this script lives.
        for neighbour in 1 2; do
            sh -c 'while kill -0 "$1" 2>/dev/null; do :; done' neighbour $$ &
        done
        prove "each test $runs times beside two busy processes: $only" \
            cargo nextest run --locked --workspace --profile ci --no-tests fail --stress-count "$runs" -E "$only"
        ;;
    *)
        echo "prove.sh kill|batches|sim|policy|fuzz|outage|rotation|scale|fleet|regions|overload|reconciliation|replay|state|tasks|runs|heartbeats|tunnels|placement|peers|nodes|upgrade|flakes" >&2
        exit 2
        ;;
esac
