#!/usr/bin/env bash
# Builds the binary that a release ships: optimised across all crates, its code laid out by a profile of real
# requests (docs/decisions/0012). Two builds of everything: allow half an hour on two cores the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
profile=$PWD/target/profile # the instrumented build, and what it counted
release=target/release-profiled

# Both are embedded.
scripts/console.sh
scripts/docs.sh

find_profdata() {
    local tools
    tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
    [ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools >&2
    echo "$tools/llvm-profdata"
}
profdata=$(find_profdata)

echo "1 of 3: building with counters"
rm -rf "$profile/counts"
# With the very profile of step 3: cargo names each crate's symbols by it, and counts are found again by symbol.
RUSTFLAGS="-Cprofile-generate=$profile/counts" \
    cargo build --locked --release --target "$host" --target-dir "$profile" -p tidegate

echo "2 of 3: counting under a load of its own, which is not what the benchmark measures"
cargo build --locked --profile make-run -p bench
ulimit -n "$(ulimit -Hn)"
target/make-run/bench --binary "$profile/$host/release/tidegate" --training --secs 4 --streams 100
"$profdata" merge -o "$profile/tidegate.profdata" "$profile/counts"

echo "3 of 3: building with what was counted"
rm -rf "$release" # cargo doesn't see that a profile has changed
# What the counts call hot stands together, and what they call cold apart: the linker would mix them again.
RUSTFLAGS="-Cprofile-use=$profile/tidegate.profdata -Clink-arg=-Wl,-z,keep-text-section-prefix" \
    cargo build --locked --release --target "$host" --target-dir "$release" -p tidegate
install -m 755 "$release/$host/release/tidegate" target/tidegate
ls -l target/tidegate
