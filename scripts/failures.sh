#!/bin/sh
# failures.sh FILE: the lines of a kept test run that say that a test failed, each with its number. It ends with 0 where there is one, as grep does.
# `cargo nextest run --stress-count` ends with 0 although iterations failed, so what was printed is read beside the exit code. What a test
# says of requests that were meant to fail needs other words than the runner's.
set -u
found=$(
    # What nextest and libtest say of a test, and of all: a status, or a count that isn't none.
    grep -nE '(^|[^[:alnum:]_])FAIL(ED)?([^[:alnum:]_]|$)' "$1"
    grep -nE '^ *(TIMEOUT|ABORT|LEAK-FAIL|SIG[A-Z0-9]+) +\[' "$1"
    grep -nE '(^|[^[:alnum:]_.])[1-9][0-9]* (tests? )?failed' "$1"
    grep -nE 'tests? run:.*[^0-9][1-9][0-9]* (timed out|exec failed)' "$1"
    # Iterations of which some were never begun.
    grep -nE '[0-9]+/[0-9]+ stress run iterations' "$1" | grep -vE '[^0-9]([0-9]+)/\1 stress'
    grep -qE '(^|[^0-9])[1-9][0-9]* passed' "$1" || echo '1:no test passed'
)
[ -n "$found" ] && printf '%s\n' "$found" | sort -t : -k 1,1n -u
