#!/usr/bin/env bash
# older.sh SCHEMA|COMMIT: builds the last version whose newest migration has that number, or that of a commit, and prints where its program is.
set -euo pipefail
cd "$(dirname "$0")/.."
case $1 in
    [0-9][0-9][0-9][0-9]) version=$(scripts/version-of-schema.sh "$1") ;;
    *) version=$(git rev-parse --verify "$1^{commit}") ;;
esac
git show --no-patch --format="the version of $1 is %h of %cs" "$version" >&2
older=$PWD/target/older/$version
if [ ! -x "$older/tidegate" ]; then
    mkdir -p "$older"
    # Of a build that was broken off.
    rm -rf "$older/source"
    git worktree prune
    git worktree add --detach "$older/source" "$version" >&2
    if ! (cd "$older/source" && cargo build --locked -p tidegate --no-default-features --target-dir "$older/target") >&2; then
        echo "that version doesn't build; name a commit before it: git log --oneline $(git rev-parse --short "$version")" >&2
        exit 1
    fi
    cp "$older/target/debug/tidegate" "$older/tidegate"
    git worktree remove --force "$older/source"
    rm -rf "$older/target"
fi
echo "$older/tidegate"
