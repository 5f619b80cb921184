#!/usr/bin/env bash
# Resolves every dependency and writes the locks: one per service, two for the root, three for tools.
#
#   scripts/lock.sh            what is new or changed in a pyproject.toml, the rest as in uv.lock if there is one
#   scripts/lock.sh --upgrade  everything to its newest version
#   scripts/lock.sh --check    change nothing; fail when a lock does not fit its pyproject.toml
#
# uv.lock itself names the package index of the machine that wrote it, so git ignores it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=.tools/bin/uv
[ -x "$uv" ] || uv=uv

export_lock() {
    local file=$1
    shift
    "$uv" export --quiet --frozen --no-emit-workspace --no-header --no-annotate --format requirements-txt "$@" \
        --output-file "$file" >/dev/null
    echo "$file"
}

compile_lock() {
    local file=$1
    shift
    printf '%s\n' "$@" | "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-annotate --no-emit-index-url "${upgrade[@]}" --output-file "$file" - >/dev/null
    echo "$file"
}

case ${1:-} in
    "") upgrade=() ;;
    --upgrade) upgrade=(--upgrade) ;;
    --check) exec .venv/bin/pytest -q tests/contract/test_locks.py ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

"$uv" lock "${upgrade[@]}"
for project in services/*/pyproject.toml; do
    service=$(basename "$(dirname "$project")")
    export_lock "services/$service/requirements.lock" --package "clawstead-$service" --no-dev
done
export_lock requirements.lock --all-packages --no-dev
export_lock requirements-dev.lock --all-packages --all-groups
compile_lock shared/build-requirements.lock hatchling editables
compile_lock scripts/tools.lock uv
compile_lock scripts/certbot.lock certbot certbot-dns-cloudflare certbot-dns-rfc2136
