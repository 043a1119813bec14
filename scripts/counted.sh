#!/bin/sh
# counted.sh COMMAND...: runs a compiler (as RUSTC_WRAPPER) or a test (as cargo's runner), and notes in $TIDEGATE_TIMES how many core-seconds it and
# its children took. Wall time would say how busy the machine is.
"$@"
status=$?
[ -n "${TIDEGATE_TIMES:-}" ] || exit $status
if [ -n "${NEXTEST_TEST_NAME:-}" ]; then
    list=tests
    name="${CARGO_PKG_NAME:-}	${NEXTEST_BINARY_ID:-}	$NEXTEST_TEST_NAME"
else
    # Cargo names the package to its compilers, and to nobody who only asks for a version.
    list=rustc name=${CARGO_PKG_NAME:-}
    [ -n "$name" ] || exit $status
fi
# Not behind a pipe: its children are another shell's.
times >"$TIDEGATE_TIMES/$$" 2>/dev/null || exit $status
{ read -r _ && read -r user system; } <"$TIDEGATE_TIMES/$$"
rm -f "$TIDEGATE_TIMES/$$"
printf '%s\t%s\t%s\n' "$name" "$user" "$system" >>"$TIDEGATE_TIMES/$list"
exit $status
