#!/usr/bin/env bash
# Trains adapters beside small made-up models, and compares what the trainer says with what PEFT makes of its files.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(scripts/torch-env.sh)
place=$PWD/target/verify-peft
rm -rf "$place"
cargo run --locked --profile make-run -p engine --example train_adapter -- "$place"
exec "$python" scripts/verify-peft.py "$place"
