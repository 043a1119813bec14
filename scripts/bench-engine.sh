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
if [ ! -x "$cache/tools/bin/ninja" ]; then
    python3 -m venv "$cache/tools"
    "$cache/tools/bin/python" -m pip install --quiet --disable-pip-version-check cmake==4.4.4 ninja==1.13.2
fi
if [ ! -e "$cache/llama/build.ninja" ]; then
    "$cache/tools/bin/cmake" -G Ninja -S bench/engine/llama -B "$cache/llama" \
        -DCMAKE_MAKE_PROGRAM="$cache/tools/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
        -DLLAMA_SOURCE="$cache/sources/llama-cpp-sys-2/llama.cpp" >"$cache/llama.log"
fi
"$cache/tools/bin/ninja" -C "$cache/llama" llama-child >>"$cache/llama.log"

python=$(scripts/torch-env.sh)
cargo build --locked --profile make-run -p bench-engine
exec target/make-run/bench-engine --llama "$cache/llama/llama-child" --peft "$python" "$@"
