#!/usr/bin/env bash
# Builds the stand-in gateways of the tests from Debian's static busybox. Needs no network; again is a no-op.
# With a TAG: only OpenClaw's own contract, under that name.
set -euo pipefail

readonly TAG=${1:-clawstead-standin:test} VARIANT=clawstead-standin:coollabs
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
    echo "images/standin: $*" >&2
    exit 1
}

command -v docker >/dev/null || fail "docker is missing: run scripts/setup.sh"
busybox=$(command -v busybox) || fail "busybox is missing: apt-get install busybox-static"
busybox=$(readlink -f "$busybox")
if ldd "$busybox" >/dev/null 2>&1; then
    fail "$busybox is not static: apt-get install busybox-static"
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp -R "$here/Dockerfile" "$here/rootfs" "$here/coollabs" "$context"
cp "$busybox" "$context/busybox"
# Modes take part in the layer's hash and git keeps only the execute bit: a umask must not make another image.
chmod -R u=rwX,go=rX "$context"

build() {
    DOCKER_BUILDKIT=0 docker build --quiet --network none --tag "$1" "$2" >/dev/null 2>"$context/errors" \
        || fail "docker build failed: $(cat "$context/errors")"
    echo "$1 is ready"
}

mkdir "$context/openclaw"
mv "$context/Dockerfile" "$context/rootfs" "$context/busybox" "$context/openclaw"
build "$TAG" "$context/openclaw"
if [ $# -eq 0 ]; then build "$VARIANT" "$context/coollabs"; fi
