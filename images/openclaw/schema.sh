#!/usr/bin/env bash
# Stores the config schema of the pinned OpenClaw where the provisioner reads it. Run after raising OPENCLAW_VERSION.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/openclaw/versions
. "$here/versions"
readonly IMAGE=${1:-openclaw:local}
readonly OUT=$here/../../services/provisioner/src/clawstead_provisioner/schemas/openclaw-$OPENCLAW_VERSION.json

raw=$(mktemp)
trap 'rm -f "$raw" "$OUT.new"' EXIT
mkdir -p "$(dirname "$OUT")"
docker run --rm --network none --tmpfs /home/node:uid=1000,gid=1000 "$IMAGE" openclaw config schema >"$raw"
python3 "$here/compact_schema.py" <"$raw" >"$OUT.new"
mv "$OUT.new" "$OUT"
echo "$(realpath "$OUT"): $(stat -c %s "$OUT") bytes"
