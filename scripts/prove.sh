#!/usr/bin/env bash
# prove.sh VERB: bigger editions of tests that `make test` runs small. What they printed is kept in docs/proofs/, with what was promised and whether
# it was met, the seed, the commit, the machine and the time it took. A run in which a test failed replaces no proof, whatever its exit code; nor
# does a smaller edition than what was promised; and one of changed sources would prove nothing of a commit. What passed but missed its bound is
# kept as missed, and ends with an error.
set -euo pipefail
cd "$(dirname "$0")/.."
verbs="kill|batches|sim|policy|fuzz|outage|rotation|scale|fleet|regions|overload|sockets|reconciliation|replay|state|tasks|runs|heartbeats|tunnels|placement|peers|nodes|upgrade|flakes"
which=${1:?$verbs}
seed=${TIDEGATE_SEED:-$(date -u +%s)}
export TIDEGATE_SEED=$seed
# What is kept is read by its words, which colours would part.
export CARGO_TERM_COLOR=never
kept_as=prove-$which.txt
smaller=
mkdir -p docs/proofs target
changed=$(git status --porcelain --untracked-files=no -- . ':!docs/proofs')
if [ -n "$changed" ]; then
    printf 'These files have changed since the last commit. Commit or stash them first: a proof names the commit that it is of.\n%s\n' "$changed" >&2
    exit 1
fi

# What all tests of every tier are built by, as `make test-whole` does.
chosen=$(cargo xtask affected whole 2>/dev/null)
eval "$chosen"
# shellcheck disable=SC2154,SC2206 # `affected` printed it, and each of its words is an argument
everything=($selection)

size() { # size NAME COUNT...: how much of each is promised. The caller may set more; with less, it is a look and no proof.
    while [ $# -gt 0 ]; do
        local asked=${!1:-$2}
        [ "$asked" -ge "$2" ] || smaller="$smaller $1=$asked (promised: $2)"
        export "$1=$asked"
        shift 2
    done
}

promise() { # what the row of this proof promises
    sed -n "/^\[\"$kept_as\"\]/,/^\$/s/^promise = \"\(.*\)\"\$/\1/p" xtask/proofs.toml
}

. scripts/proof-head.sh

prove() { # prove TITLE COMMAND...
    local title=$1 start=$SECONDS status=0 run=target/$kept_as bound word missed
    shift
    bound=$(promise)
    [ -n "$bound" ] || { echo "xtask/proofs.toml has no row for $kept_as" >&2; exit 1; }
    bound="met: $bound"
    proof_head "$title" "$seed" >"$run"
    # The tests print where they ran; what is kept says it relative to the repository.
    "$@" 2>&1 | sed -u "s|$PWD/||g" | tee -a "$run" || status=$?
    if scripts/failures.sh "$run" >"$run.failures"; then
        [ "$status" != 0 ] || status=1
        echo 'what failed:' >&2
        head -n 20 "$run.failures" >&2
    fi
    word=$([ "$status" = 0 ] && echo passed || echo FAILED)
    # A test that measured more than was promised, and failed in nothing else, says it so.
    missed=$(sed -n 's/^ *missed: //p' "$run" | sort -u | paste -s -d ';' -)
    if [ "$status" = 0 ] && [ -n "$missed" ]; then
        bound="MISSED: $missed; promised: $(promise)" word='missed its bound'
    fi
    printf '\n%s after %d s\n' "$word" $((SECONDS - start)) | tee -a "$run"
    if [ "$status" != 0 ]; then
        echo "not kept; the output is in $run" >&2
        return "$status"
    elif [ -n "$smaller" ]; then
        echo "not kept, since it is less than what is promised:$smaller; the output is in $run" >&2
        [ -z "$missed" ]
        return
    fi
    { printf 'bound:    %s\n' "$bound" && cat "$run"; } >"docs/proofs/$kept_as"
    rm "$run"
    head -n 1 "docs/proofs/$kept_as"
    echo "kept in docs/proofs/$kept_as"
    [ -z "$missed" ]
}

run_tests() { cargo nextest run --locked --profile prove --no-tests fail "$@"; }
# Before the proof begins: what the compiler prints is no part of it, nor is its time.
build_tests() { cargo nextest run --locked --no-run "$@"; }
# The build of all tests: another choice of packages would have other features, and compile everything again.
run_all() { run_tests "${everything[@]}" "$@"; }
journeys() { run_all -j 1 -E "package(journeys) & ($1)"; }
# For what is asked of time or number; a program that was built before may be named.
fast_build() {
    [ -z "${TIDEGATE_BIN:-}" ] || return 0
    cargo build --locked --profile make-run -p tidegate
    export TIDEGATE_BIN=$PWD/target/make-run/tidegate
}
build_all() { cargo build --locked "${everything[@]}" --lib --bins --tests; }

case $which in
    kill)
        size TIDEGATE_KILLS 500
        build_all
        prove "$TIDEGATE_KILLS kills at random moments" journeys 'test(/^kill::/)'
        ;;
    batches)
        size TIDEGATE_BATCH_ITEMS 100000
        build_all
        fast_build
        prove "a batch of $TIDEGATE_BATCH_ITEMS requests on two gateways, of which one is killed" \
            journeys 'test(a_batch_on_two_gateways)'
        ;;
    sim)
        size TIDEGATE_SIM_SEEDS 1000000 TIDEGATE_LEASE_SEEDS 10000
        build_tests -p journeys --test sim --cargo-profile make-run
        prove "$TIDEGATE_SIM_SEEDS seeds of exchanges, $TIDEGATE_LEASE_SEEDS of budgets that replicas share" \
            run_tests -p journeys --test sim --cargo-profile make-run
        ;;
    policy)
        size POLICY_CASES 10000
        export PROPTEST_RNG_SEED=$seed
        build_tests "${everything[@]}"
        prove "$POLICY_CASES generated workspaces, routes and policies against an oracle" \
            run_all --no-capture -E 'package(plan) & test(/^policy_oracle::/)'
        ;;
    fuzz)
        size FUZZ_SECS 60
        export BOLERO_RANDOM_TEST_TIME_MS=$((FUZZ_SECS * 1000)) BOLERO_RANDOM_ITERATIONS=${BOLERO_RANDOM_ITERATIONS:-1000000000}
        build_tests -p fuzz --cargo-profile make-run
        prove "each fuzz target for $FUZZ_SECS s" run_tests -p fuzz --cargo-profile make-run --no-fail-fast
        ;;
    outage)
        size TIDEGATE_OUTAGE_SECS 600
        build_all
        prove "the database is away for $TIDEGATE_OUTAGE_SECS s" journeys 'test(the_database_goes_away)'
        ;;
    rotation)
        # Asked for, so that at least a thousand come of it.
        size TIDEGATE_WRAPPED_KEYS 100000 TIDEGATE_ROTATION_RATE 1100 TIDEGATE_ROTATION_CLIENTS 128
        build_all
        fast_build
        prove "workspace and master keys change under load" journeys 'test(/^rotation::/)'
        ;;
    scale)
        size TIDEGATE_SCALE_RECORDS 1000000
        fast_build
        build_tests -p journeys --features figures --cargo-profile make-run
        prove "what pages ask of $TIDEGATE_SCALE_RECORDS stored requests, on each database" \
            run_tests -p journeys --features figures --cargo-profile make-run --no-fail-fast -j 1 -E 'test(/^scale::/)'
        ;;
    fleet)
        size TIDEGATE_CHANGES 300 TIDEGATE_RESTARTS 50
        build_all
        prove "three gateways under load: $TIDEGATE_CHANGES changes, $TIDEGATE_RESTARTS restarts, a silent database" \
            journeys 'test(/^fleet::/)'
        ;;
    regions)
        size TIDEGATE_REGION_SECS 60 TIDEGATE_REGION_RATE 200
        build_all
        fast_build
        prove "two own regions, one silent and then limiting, $TIDEGATE_REGION_SECS s each at $TIDEGATE_REGION_RATE requests a second" \
            journeys 'test(two_own_regions)'
        ;;
    overload)
        size TIDEGATE_OVERLOAD_SECS 60 TIDEGATE_OVERLOAD_CLIENTS 5 TIDEGATE_OVERLOAD_ARRIVALS 7200
        # Where more would promise less.
        export TIDEGATE_OVERLOAD_IN_FLIGHT=32 TIDEGATE_OVERLOAD_LATER_PERCENT=5
        build_all
        fast_build
        prove "a workspace at a hundred times its neighbour's load for $TIDEGATE_OVERLOAD_SECS s, and three times what a project may do at once" \
            journeys 'test(/^neighbours::/) | test(three_times_what_a_project)'
        ;;
    sockets)
        size TIDEGATE_LEAVING_CLIENTS 10000 TIDEGATE_SLOW_SOCKETS 10000
        # A gateway keeps a descriptor for an upstream beside each of a client.
        ulimit -n 32768
        build_all
        fast_build
        prove "$TIDEGATE_LEAVING_CLIENTS clients that leave, and $TIDEGATE_SLOW_SOCKETS slow sockets of each kind" \
            journeys 'test(/^edges::(clients_that_leave|slow_sockets)/)'
        ;;
    reconciliation)
        size TIDEGATE_RECONCILED_RECORDS 1000000
        build_all
        fast_build
        prove "a month of $TIDEGATE_RECONCILED_RECORDS generated requests, also stored on each database, against the files that a provider makes of it" \
            run_all -j 1 \
            -E '(package(reconciliation) & test(a_month_with)) | (package(journeys) & test(a_stored_month_with))'
        ;;
    replay)
        size TIDEGATE_REPLAY_CANDIDATES 1000
        build_tests -p replay --cargo-profile make-run
        prove "$TIDEGATE_REPLAY_CANDIDATES made-up candidates whose truth is known, judged by the gates of replays" \
            run_tests -p replay --cargo-profile make-run --no-capture -E 'test(the_gates_let_hardly)'
        ;;
    state)
        size TIDEGATE_STATE_EVENTS 10000
        build_all
        fast_build
        prove "a session of $TIDEGATE_STATE_EVENTS events is appended to, exported and purged" \
            run_all --no-capture -E 'package(journeys) & test(/^state_figures::/)'
        ;;
    tasks)
        size TIDEGATE_TASKS 1010 TIDEGATE_KILLS 100 TIDEGATE_QUEUED 10000
        build_all
        fast_build
        prove "$TIDEGATE_KILLS kills during $TIDEGATE_TASKS tasks, and a queue of $TIDEGATE_QUEUED" \
            run_all -j 1 --no-capture \
            -E 'package(journeys) & (test(a_long_queue_is_drained) | test(a_kill_loses_no_task) | test(two_gateways_share_a_queue))'
        ;;
    runs)
        size TIDEGATE_QUEUED 10000
        build_all
        fast_build
        prove "what a run costs beside a chat request, $TIDEGATE_QUEUED of each" \
            run_all -j 1 --no-capture -E 'package(journeys) & test(a_run_that_is_waited_for)'
        ;;
    heartbeats)
        size TIDEGATE_NODES 10000
        build_all
        fast_build
        prove "the heartbeats of $TIDEGATE_NODES nodes" journeys 'test(/^heartbeats::/)'
        ;;
    placement)
        size TIDEGATE_PLACEMENT_NODES 200 TIDEGATE_PLACEMENT_SECS 900
        export TIDEGATE_PLACEMENT_SVG=$PWD/docs/proofs/placement.svg
        build_tests -p placement --cargo-profile make-run
        prove "$TIDEGATE_PLACEMENT_NODES simulated nodes, $TIDEGATE_PLACEMENT_SECS s of conversations, placed in four ways" \
            run_tests -p placement --cargo-profile make-run --no-capture -j 1 -E 'test(placement_by_expected_time)'
        ;;
    tunnels)
        size TIDEGATE_TUNNELLED 5000
        build_all
        fast_build
        prove "$TIDEGATE_TUNNELLED requests through a tunnel, beside as many to the node's address" journeys 'test(/^tunnel_figures::/)'
        ;;
    peers)
        export TIDEGATE_PEERS_FULL=1
        build_all
        prove "200 MB from three peers of which one dies and one lies; peers apart and alike" \
            run_all -j 1 --no-capture -E 'package(journeys) & test(/^peers/)'
        ;;
    nodes)
        size TIDEGATE_FLEET_MB 200 TIDEGATE_FLEET_ROUNDS 4
        build_all
        prove "a gateway and five nodes in namespaces: $TIDEGATE_FLEET_MB MiB from peers, $TIDEGATE_FLEET_ROUNDS rounds of kills, partitions, drains, floods and revocations under traffic" \
            journeys 'test(/^whole_fleet::/)'
        ;;
    upgrade)
        # From the last version that has the migration before the newest, or from that of an older one: TIDEGATE_BEFORE=0042.
        newest=$(ls crates/store/migrations/postgres | tail -n 1)
        number=${TIDEGATE_BEFORE:-$(printf '%04d' $((10#${newest%%_*} - 1)))}
        [ -z "${TIDEGATE_BEFORE:-}" ] || kept_as=prove-upgrade-$number.txt
        TIDEGATE_BIN_BEFORE=$(scripts/older.sh "$number")
        export TIDEGATE_BIN_BEFORE
        build_all
        prove "an upgrade from schema $number to $newest, three gateways under load" journeys 'test(/^upgrade::gateways/)'
        ;;
    flakes)
        size TIDEGATE_FLAKE_RUNS 20
        only=${TIDEGATE_FLAKES:-all()}
        [ "$only" = 'all()' ] || smaller="$smaller TIDEGATE_FLAKES=$only (promised: all)"
        build_all
        # Two neighbours that take all they can get, for as long as this script lives. They hold no output open behind it.
        for neighbour in 1 2; do
            sh -c 'while kill -0 "$1" 2>/dev/null; do :; done' neighbour $$ >/dev/null 2>&1 &
        done
        prove "each test of every tier $TIDEGATE_FLAKE_RUNS times beside two busy processes: $only" \
            scripts/in-memory.sh cargo nextest run --locked "${everything[@]}" --profile ci --no-tests fail \
            --stress-count "$TIDEGATE_FLAKE_RUNS" -E "$only"
        ;;
    *)
        echo "prove.sh $verbs" >&2
        exit 2
        ;;
esac
