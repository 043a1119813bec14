#!/usr/bin/env bash
# version-of-schema.sh [NUMBER]: the last commit of this line of history whose newest migration has that number, and that builds. Without a number, each that has one.
set -euo pipefail
cd "$(dirname "$0")/.."
migrations=crates/store/migrations/postgres
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    echo "this clone has a part of the history alone: git fetch --unshallow" >&2
    exit 1
fi
# The last commits of these two don't build by themselves, but an earlier one does.
case ${1:-} in
    0016) git rev-parse 07fba014 && exit ;;
    0062) git rev-parse fda8faf6 && exit ;;
esac
versions=$(git rev-list --first-parent HEAD | while read -r commit; do
    newest=$(git ls-tree --name-only "$commit" "$migrations/" | tail -n 1)
    newest=${newest##*/}
    echo "${newest%%_*} $commit"
done | awk 'NF == 2 && !seen[$1]++')
if [ -z "${1:-}" ]; then
    sort <<<"$versions"
    exit
fi
found=$(awk -v number="$1" '$1 == number { print $2 }' <<<"$versions")
if [ -z "$found" ]; then
    echo "no commit ends with migration $1, since more than one came at once. Some end with: $(cut -d ' ' -f 1 <<<"$versions" | sort | paste -s -d ' ' -)" >&2
    exit 1
fi
echo "$found"
