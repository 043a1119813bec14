#!/usr/bin/env bash
# Builds llama.cpp's server from the sources that a Python package bundles, and plays the journeys of tests/tests/it/servers_of_others.rs
# with it in place of its emulation. JOBS bounds the compilers that run at once.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.3.36 # of llama-cpp-python
digest=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
cache=$PWD/target/tools/servers
sources=$cache/llama.cpp
mkdir -p "$cache"

tools=$(scripts/cmake-env.sh)
if [ "$(cat "$sources/.version" 2>/dev/null)" != "$version" ]; then
    rm -rf "$sources" "$cache/build"
    archive=$cache/llama_cpp_python-$version.tar.gz
    "$tools/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
        --dest "$cache" "llama-cpp-python==$version"
    printf '%s  %s\n' "$digest" "$archive" | sha256sum --check --quiet
    mkdir -p "$sources"
    tar xzf "$archive" -C "$sources" --strip-components=3 "llama_cpp_python-$version/vendor/llama.cpp"
    rm "$archive"
    printf '%s' "$version" >"$sources/.version"
fi
if [ ! -e "$cache/build/build.ninja" ]; then
    # A server with a model of a hundred kilobytes: what matters is how soon it is compiled. Without its pages, nothing is fetched.
    "$tools/cmake" -G Ninja -S "$sources" -B "$cache/build" -DCMAKE_MAKE_PROGRAM="$tools/ninja" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DBUILD_SHARED_LIBS=OFF \
        -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
        -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF >"$cache/cmake.log"
fi
"$tools/ninja" -C "$cache/build" -j "${JOBS:-$(nproc)}" llama-server >"$cache/ninja.log"

cargo build --locked --workspace --all-targets
export TIDEGATE_LLAMA_SERVER=$cache/build/bin/llama-server
"$TIDEGATE_LLAMA_SERVER" --version 2>&1 | head -n 1
exec cargo nextest run --locked --workspace --no-tests fail -j 1 \
    -E 'package(journeys) & test(/^servers_of_others::llama_cpp/)'
