#!/bin/sh
# The compiler of `make test`, as RUSTC_WORKSPACE_WRAPPER: clippy, which is rustc with more lints, so that nothing is checked a second time. What
# is optimised for tests to wait less (`opt-level` in Cargo.toml) is the code under test, and not the test targets: they take longer to
# optimise than they run. Those of the engine's crates have code in them that is far too slow unoptimised.
set -eu
for argument; do
    [ "$argument" != --test ] || is_test=1
done
if [ -n "${is_test:-}" ]; then
    for argument; do
        shift
        case $argument in
        opt-level=1) argument=opt-level=0 ;;
        opt-level=3) argument=opt-level=1 ;;
        esac
        set -- "$@" "$argument"
    done
fi
exec clippy-driver "$@"
