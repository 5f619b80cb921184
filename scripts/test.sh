#!/usr/bin/env bash
# Sets up what is missing, then runs every check and every test, all of them even when one fails, and sums up.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

failed=0
summary=()

stage() {
    local name=$1 began=$SECONDS verdict=passed
    shift
    printf '\n== %s\n' "$name"
    "$@" || { verdict=FAILED; failed=1; }
    summary+=("$(printf '%-12s %-7s %4d s' "$name" "$verdict" $((SECONDS - began)))")
}

scripts/setup.sh --dev || exit
stage lint make --no-print-directory lint
stage type make --no-print-directory type
for level in unit contract integration e2e; do
    stage "$level" make --no-print-directory "$level"
done

printf '\n== summary, %d min %02d s in all\n' $((SECONDS / 60)) $((SECONDS % 60))
printf '%s\n' "${summary[@]}"
exit "$failed"
