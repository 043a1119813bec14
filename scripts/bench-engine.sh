#!/usr/bin/env bash
# Builds the engine's benchmark, and llama.cpp from the sources that a crate bundles, and measures both in turns. What trains
# beside is PEFT, in a Python that scripts/torch-env.sh finds or makes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.1.161 # of llama-cpp-sys-2
cache=$PWD/target/bench-engine
mkdir -p "$cache"

# A package of its own, outside of the workspace: what ships must not know these sources.
if [ ! -e "$cache/sources/.done" ]; then
    rm -rf "$cache/sources" "$cache/fetch"
    mkdir -p "$cache/fetch/src"
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\nllama-cpp-sys-2 = "=%s"\n[workspace]\n' \
        "$version" >"$cache/fetch/Cargo.toml"
    : >"$cache/fetch/src/lib.rs"
    cargo vendor --quiet --manifest-path "$cache/fetch/Cargo.toml" "$cache/sources" >/dev/null
    touch "$cache/sources/.done"
fi
tools=$(scripts/cmake-env.sh)
# A processor with AMX whose kernel keeps the tiles shut kills a program that was built for the processor.
built="for the machine itself" without=()
if grep -qw amx_tile /proc/cpuinfo && ! { cc -mamx-tile bench/engine/llama/amx.c -o "$cache/amx" && "$cache/amx"; }; then
    built="for the machine itself without AMX, which the processor has and the kernel keeps shut"
    without=(-DCMAKE_C_FLAGS="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" -DCMAKE_CXX_FLAGS="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16")
fi
if [ "$(cat "$cache/llama/.built" 2>/dev/null)" != "$built" ]; then
    rm -rf "$cache/llama"
    "$tools/cmake" -G Ninja -S bench/engine/llama -B "$cache/llama" \
        -DCMAKE_MAKE_PROGRAM="$tools/ninja" -DCMAKE_BUILD_TYPE=Release \
        "${without[@]}" -DLLAMA_SOURCE="$cache/sources/llama-cpp-sys-2/llama.cpp" >"$cache/llama.log"
    printf '%s' "$built" >"$cache/llama/.built"
fi
"$tools/ninja" -C "$cache/llama" llama-child >>"$cache/llama.log"

python=$(scripts/torch-env.sh)
cargo build --locked --profile make-run -p bench-engine
exec target/make-run/bench-engine --llama "$cache/llama/llama-child" --llama-built "$built" --peft "$python" "$@"
