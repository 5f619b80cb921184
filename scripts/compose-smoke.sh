#!/usr/bin/env bash
# Brings compose.yml up on ports and volumes of its own, makes an instance of the stand-in gateway through the edge,
# uses it, deletes it, and takes everything down again. On a machine without a registry run compose-standins.sh first.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PROJECT=clawstead-smoke
readonly STEP_SECONDS=90
readonly BUILT=(API CLI EDGE HEALTH KEEPER PROVISIONER TERMINAL)

say() { printf '[compose %3ds] %s\n' "$SECONDS" "$*"; }

fail() {
    printf '[compose] %s\n' "$*" >&2
    compose ps --all >&2 || true
    compose logs --no-color --tail 15 >&2 || true
    exit 1
}

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name "$PROJECT" "$@"
    elif [ -x .tools/docker-compose ]; then
        .tools/docker-compose --project-name "$PROJECT" "$@"
    else
        say "there is no docker compose: install it, or run scripts/compose-standins.sh"
        return 1
    fi
}

choose_ports() {
    local names=(NATS API PROVISIONER PROXY_SYNC HEALTH TERMINAL_WS HTTPS HTTP) ports index
    read -ra ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*(each.getsockname()[1] for each in sockets))')
    for index in "${!names[@]}"; do export "CLAWSTEAD_${names[$index]}_PORT=${ports[$index]}"; done
}

# Names of their own: a platform that runs here keeps its images.
name_images() {
    local name
    images=()
    for name in "${BUILT[@]}"; do
        images+=("$PROJECT-${name,,}:local")
        export "CLAWSTEAD_${name}_IMAGE=${images[-1]}"
    done
}

configure() {
    choose_ports
    name_images
    POSTGRES_PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    CLAWSTEAD_ADMIN_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    CLAWSTEAD_DATA_DIR=$(mktemp -d)
    export POSTGRES_PASSWORD CLAWSTEAD_ADMIN_TOKEN CLAWSTEAD_DATA_DIR
    export CLAWSTEAD_DOMAIN=claw.localhost CLAWSTEAD_IMAGE=clawstead-standin:test CLAWSTEAD_INSTALLATION=$PROJECT
    # Out of the way of the ports and networks of a platform that runs here already.
    export CLAWSTEAD_FIRST_GATEWAY_PORT=19900 CLAWSTEAD_LAST_GATEWAY_PORT=19999 CLAWSTEAD_NETWORK_POOL=10.214.0.0/16
    local bundle=/etc/ssl/certs/ca-certificates.crt
    if [ -r "$bundle" ]; then export BUILD_CA=${BUILD_CA:-$bundle}; fi
}

take_down() {
    compose down --volumes --timeout 20 >/dev/null 2>&1 || true
    our_objects container | xargs -r docker rm --force >/dev/null
    our_objects network | xargs -r docker network rm >/dev/null
    docker rmi "${images[@]}" >/dev/null 2>&1 || true
    docker image prune --force --filter "label=com.docker.compose.project=$PROJECT" >/dev/null
    rm -rf "$CLAWSTEAD_DATA_DIR"
}

our_objects() { docker "$1" ls --quiet --filter "label=ing.clawstead.installation=$PROJECT" "${@:2}"; }

# request METHOD HOST PATH [BODY]: the answer's body, then its status on a line of its own.
request() {
    curl --silent --max-time 10 --cacert "$CLAWSTEAD_DATA_DIR/ca.pem" --resolve "*:$CLAWSTEAD_HTTPS_PORT:127.0.0.1" \
        --header "Authorization: Bearer $CLAWSTEAD_ADMIN_TOKEN" --header 'Content-Type: application/json' \
        --request "$1" ${4:+--data "$4"} --write-out '\n%{http_code}\n' "https://$2:$CLAWSTEAD_HTTPS_PORT$3" || true
}

field() { python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())[sys.argv[1]])' "$1"; }

# until_true WHAT COMMAND...: tries until the deadline of one step.
until_true() {
    local what=$1 deadline=$((SECONDS + STEP_SECONDS))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not within $STEP_SECONDS s: $what"
        sleep 0.5
    done
    say "$what"
}

answers() { [ "$(request GET "$1" "$2" | tail -1)" = "$3" ]; }
in_phase() { [ "$(request GET "$CLAWSTEAD_DOMAIN" "/api/v1/instances/$1" | field phase 2>/dev/null)" = "$2" ]; }
# nats_greets CONTAINER ADDRESS: whether NATS answers a container there.
nats_greets() { docker exec "$1" sh -c "nc -w 2 $2 4222 </dev/null" 2>/dev/null | grep -q INFO; }
network_address() { docker inspect --format "{{with index .NetworkSettings.Networks \"$2\"}}{{.$3}}{{end}}" "$1"; }
no_route_to_nats() {
    local nats instance address
    nats=$(compose ps --quiet nats)
    instance=$(our_objects container)
    compose exec --no-TTY keeper python -c \
        'import socket; assert b"INFO" in socket.create_connection(("nats", 4222), 2).recv(9)' || return 1
    for address in "$(network_address "$nats" "${PROJECT}_bus" IPAddress)" \
        "$(network_address "$nats" "${PROJECT}_bus" Gateway)"; do
        [ -n "$address" ] || return 1
        if nats_greets "$instance" "$address"; then return 1; fi
    done
}
nothing_left() {
    [ -z "$(our_objects container --all)$(our_objects network)$(ls "$CLAWSTEAD_DATA_DIR/instances")" ]
}

configure
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
images/standin/build.sh >/dev/null
say "building"
compose build --quiet || fail "the images were not built"
say "starting"
compose up --detach --wait --wait-timeout 120 --pull never >/dev/null 2>&1 || fail "the platform did not become ready"
say "every service is ready"
compose cp edge:/data/proxy-sync/tls/ca.pem "$CLAWSTEAD_DATA_DIR/ca.pem" >/dev/null 2>&1 || fail "the edge has no authority"
until_true "the API answers through the edge" answers "$CLAWSTEAD_DOMAIN" /api/v1/plans 200
answer=$(request POST "$CLAWSTEAD_DOMAIN" /api/v1/instances '{"name": "smoke", "plan": "free"}')
[ "$(tail -1 <<<"$answer")" = 202 ] || fail "the instance was not accepted: $answer"
id=$(field id <<<"$answer")
until_true "instance $id runs" in_phase "$id" running
until_true "it answers through the edge" answers "$id.$CLAWSTEAD_DOMAIN" /healthz 200
no_route_to_nats || fail "NATS is not where only the platform reaches it"
say "it has no route to NATS"
answer=$(request DELETE "$CLAWSTEAD_DOMAIN" "/api/v1/instances/$id")
[ "$(tail -1 <<<"$answer")" = 202 ] || fail "the deletion was not accepted: $answer"
until_true "nothing of it is left" nothing_left
