#!/usr/bin/env bash
# Builds openclaw:local, the image every instance runs. Idempotent: the same recipe is built once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/openclaw/versions
. "$here/versions"

readonly RECIPE=(versions Dockerfile Dockerfile.node rootfs.sh app.sh)
readonly DISCORD_RECIPE=(versions Dockerfile.discord)
readonly RECIPE_LABEL=ing.clawstead.recipe
readonly LEFTOVER_LABEL=ing.clawstead.leftover=openclaw
readonly NEEDED_MB=4500
readonly ANSWER_SECONDS=10 PULL_SECONDS=900
export SOURCE_DATE_EPOCH=1790000000

tag=openclaw:local
base=auto
force=no
discord=no

usage() {
    cat <<EOF
build.sh [--tag NAME] [--base auto|node|debian] [--force]

  --tag NAME   name of the image (openclaw:local)
  --base node  build on $NODE_BASE, which a registry must have
  --base debian  build on a root made by mmdebstrap from this machine's apt sources
  --base auto  node if it is here or a registry answers, else debian (default)
  --force      build even if the image of this recipe is there
  --with-discord  also build NAME-discord, which has Discord's plugin in it
EOF
}

say() { printf '[openclaw image %3ds] %s\n' "$SECONDS" "$*"; }
fail() { printf '[openclaw image] %s\n' "$*" >&2; exit 1; }

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --tag) tag=${2:?--tag needs a name}; shift ;;
            --base) base=${2:?--base needs auto, node or debian}; shift ;;
            --force) force=yes ;;
            --with-discord) discord=yes ;;
            -h|--help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    case $base in auto|node|debian) ;; *) fail "--base must be auto, node or debian, not '$base'" ;; esac
}

recipe_hash() { (cd "$here" && cat "$@" | sha256sum | cut -c1-16); }

built_recipe() { docker image inspect --format "{{index .Config.Labels \"$RECIPE_LABEL\"}}" "$1" 2>/dev/null || true; }

require_docker() {
    command -v docker >/dev/null || fail "docker is missing: run 'make setup'"
    docker version >/dev/null 2>&1 || fail "the Docker engine does not answer: is it running, and may you use it? ('make setup')"
}

require_disk() {
    local free
    free=$(df --output=avail -m "$here/.build" | tail -1)
    [ "$free" -ge "$NEEDED_MB" ] || fail "needs $NEEDED_MB MB in $here/.build, only $((free)) MB are free"
}

# A registry that does not answer must not hold up the build: only a pull that has begun is waited for.
node_base_here() {
    docker image inspect "$NODE_BASE" >/dev/null 2>&1 && return
    local waited=0
    timeout "$PULL_SECONDS" docker pull "$NODE_BASE" >"$work/pull" 2>&1 &
    local pull=$!
    until grep -q 'Pulling from' "$work/pull"; do
        if ! kill -0 "$pull" 2>/dev/null; then break; fi
        if [ "$((waited += 1))" -gt "$((ANSWER_SECONDS * 5))" ]; then
            kill "$pull"
            break
        fi
        sleep 0.2
    done
    wait "$pull"
}

choose_base() {
    if [ "$base" = debian ]; then return; fi
    say "looking for $NODE_BASE"
    if node_base_here; then
        base=node
    elif [ "$base" = node ]; then
        fail "cannot get $NODE_BASE: $(tail -1 "$work/pull")"
    else
        base=debian
        say "no registry has it, or none answers: building on a Debian root instead"
    fi
}

prepare_debian() {
    command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing: run 'make setup'"
    say "making the root file system from this machine's apt sources"
    "$here/rootfs.sh" "$context/rootfs.tar" || fail "the root file system was not made"
    say "installing OpenClaw $OPENCLAW_VERSION on Node $NODE_VERSION from npm"
    mkdir "$work/app"
    "$here/app.sh" "$work/app" "$context/app.tar" || fail "OpenClaw was not installed"
    rm -rf "$work/app"
    cp "$here/Dockerfile" "$context/Dockerfile"
}

prepare_node() {
    cp "$here/Dockerfile.node" "$context/Dockerfile"
    copy_authorities
}

prepare_discord() {
    cp "$here/Dockerfile.discord" "$context/Dockerfile"
    copy_authorities
}

copy_authorities() {
    cp "${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca-certificates.crt" 2>/dev/null \
        || : >"$context/ca-certificates.crt"
}

build() {
    say "building the image"
    DOCKER_BUILDKIT=0 docker build --quiet --force-rm --network host --iidfile "$work/id" \
        --build-arg "BASE=$2" --build-arg "OPENCLAW_VERSION=$OPENCLAW_VERSION" --build-arg "NPM_VERSION=$NPM_VERSION" \
        --label "$RECIPE_LABEL=$1" --label "org.opencontainers.image.version=$OPENCLAW_VERSION" \
        "$context" >"$work/build" 2>&1 || fail "docker build failed: $(tail -20 "$work/build")"
    image=$(cat "$work/id")
}

try() { docker run --rm --network none --read-only --tmpfs /tmp --tmpfs /home/node:uid=1000,gid=1000 "$image" openclaw "$@"; }

verify() {
    local version
    version=$(try --version) || fail "the new image does not run"
    case $version in
        *"$OPENCLAW_VERSION"*) say "it runs: $version" ;;
        *) fail "the new image says '$version' instead of $OPENCLAW_VERSION" ;;
    esac
}

verify_plugin() {
    # Any other origin would be refused what a channel needs, or be looked for in the network.
    try plugins inspect "$1" --json | grep -q '"origin": "bundled"' || fail "OpenClaw does not take its plugin $1 for one of its own"
    say "it has the plugin $1"
}

publish() {
    local old
    old=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true)
    docker tag "$image" "$tag"
    published=yes
    # Goes unless a container still runs from it.
    if [ -n "$old" ] && [ "$old" != "$image" ]; then docker rmi "$old" >/dev/null 2>&1 || true; fi
    say "$tag is ready ($(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000)) MB, $1)"
}

clean_up() {
    rm -rf "$work"
    if [ -n "$image" ] && [ "$published" = no ]; then docker rmi "$image" >/dev/null 2>&1 || true; fi
    # The classic builder leaves a gigabyte behind of an earlier stage or an interrupted build. Spares what has a name.
    docker image prune --force --filter "label=$LEFTOVER_LABEL" >/dev/null 2>&1 || true
}

# make_image TAG KIND FROM HASH: builds, tries and names one image.
make_image() {
    rm -rf "$context"
    mkdir "$context"
    image='' published=no tag=$1
    "prepare_$2"
    build "$4" "$3"
    verify
    if [ "$2" = discord ]; then verify_plugin discord; fi
    publish "$2"
}

parse "$@"
require_docker
plain=$tag variant=$tag-discord
hash=$(recipe_hash "${RECIPE[@]}")
variant_hash=$(recipe_hash "${RECIPE[@]}" "${DISCORD_RECIPE[@]}")
wanted=()
if [ "$force" = yes ] || [ "$(built_recipe "$plain")" != "$hash" ]; then wanted+=(plain); else say "$plain is already built"; fi
if [ "$discord" = yes ]; then
    if [ "$force" = yes ] || [ "$(built_recipe "$variant")" != "$variant_hash" ]; then wanted+=(variant); else say "$variant is already built"; fi
fi
if [ ${#wanted[@]} -eq 0 ]; then exit 0; fi
mkdir -p "$here/.build"
require_disk
exec 9>"$here/.build/lock"
flock -n 9 || fail "another build is running"
rm -rf "$here"/.build/work.*
work=$(mktemp -d "$here/.build/work.XXXXXX")
context=$work/context
image='' published=no
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for one in "${wanted[@]}"; do
    case $one in
        plain)
            choose_base
            make_image "$plain" "$base" "$NODE_BASE" "$hash" ;;
        variant)
            make_image "$variant" discord "$plain" "$variant_hash" ;;
    esac
done
