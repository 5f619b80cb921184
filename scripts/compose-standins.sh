#!/usr/bin/env bash
# For a machine without a container registry: makes the base images of compose.yml under their own names, and gets
# Docker Compose if Docker has none. What is here already is left alone. Needs root, mmdebstrap and .venv/.
#
# The stand-ins are not the upstream images: they are this machine's own Debian release.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PYTHON_IMAGE=${PYTHON_IMAGE:-python:3.11-slim}
readonly POSTGRES_IMAGE=${POSTGRES_IMAGE:-postgres:17}
readonly NATS_IMAGE=${NATS_IMAGE:-nats:2.12-alpine}
readonly ROOT_IMAGE=clawstead-standin-root:local
readonly COMPOSE=.tools/docker-compose
readonly COMPOSE_SUITE=trixie

say() { printf '[stand-ins %3ds] %s\n' "$SECONDS" "$*"; }
fail() { printf '[stand-ins] %s\n' "$*" >&2; exit 1; }
absent() { ! docker image inspect "$1" >/dev/null 2>&1; }

sources() {
    # shellcheck disable=SC2016 # the names in $() are apt's
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        | awk -v codename="$1" '$1 == "Packages" && $2 == "Debian" && index($4, codename) == 1 { print "deb", $3, $4, $5 }' \
        | sort -u
}

build() {
    DOCKER_BUILDKIT=0 docker build --quiet --force-rm --network host --tag "$1" "$2" >/dev/null 2>"$work/errors" \
        || fail "$1 was not built: $(tail -5 "$work/errors")"
    say "$1 is ready, a stand-in"
}

# The sources of the root stay in it: packages are added on top from the same repositories.
make_root() {
    absent "$ROOT_IMAGE" || return 0
    sources "$codename" >"$work/sources.list"
    [ -s "$work/sources.list" ] || fail "apt knows no repository of $codename: run 'apt-get update'"
    mmdebstrap --quiet --variant=apt --include=ca-certificates "$codename" "$work/root.tar" "$work/sources.list" \
        || fail "the Debian root was not made"
    docker import --change "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$work/root.tar" "$ROOT_IMAGE" >/dev/null
    rm "$work/root.tar"
    say "$ROOT_IMAGE is ready"
}

make_python() {
    absent "$PYTHON_IMAGE" || return 0
    make_root
    mkdir "$work/python"
    cat >"$work/python/Dockerfile" <<EOF
FROM $ROOT_IMAGE
RUN apt-get update -qq \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 python3-venv python3-pip \\
    && rm -rf /var/lib/apt/lists/* && ln -s /usr/bin/python3 /usr/local/bin/python
CMD ["python3"]
EOF
    build "$PYTHON_IMAGE" "$work/python"
}

make_postgres() {
    absent "$POSTGRES_IMAGE" || return 0
    make_root
    cp -R images/standin-postgres "$work/postgres"
    sed -i "s/^ARG BASE.*/ARG BASE=$ROOT_IMAGE/" "$work/postgres/Dockerfile"
    build "$POSTGRES_IMAGE" "$work/postgres"
}

make_nats() {
    absent "$NATS_IMAGE" || return 0
    [ -x .venv/bin/nats-server ] || fail ".venv/bin/nats-server is missing: run scripts/setup.sh"
    mkdir "$work/nats"
    cp .venv/bin/nats-server "$(readlink -f "$(command -v busybox)")" "$work/nats/"
    cat >"$work/nats/Dockerfile" <<'EOF'
FROM scratch
COPY nats-server /nats-server
COPY busybox /bin/busybox
COPY busybox /bin/wget
ENTRYPOINT ["/nats-server"]
EOF
    build "$NATS_IMAGE" "$work/nats"
}

# A private set of apt's directories: the machine's own lists and sources stay as they are.
get_compose() {
    if docker compose version >/dev/null 2>&1 || [ -x "$COMPOSE" ]; then return; fi
    mkdir -p .tools "$work/apt/lists/partial"
    sources "$codename" | sed -n "s/ $codename / $COMPOSE_SUITE /p" >"$work/apt/sources.list"
    local options=(-qq -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/apt/lists" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$work/apt" && apt-get "${options[@]}" download docker-compose)
    dpkg-deb -x "$work"/apt/docker-compose_*.deb "$work/apt/files"
    install -m 755 "$work/apt/files/usr/libexec/docker/cli-plugins/docker-compose" "$COMPOSE"
    say "$COMPOSE is ready: $("$COMPOSE" version --short)"
}

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_python
make_postgres
make_nats
get_compose
