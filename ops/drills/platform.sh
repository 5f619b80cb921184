# shellcheck shell=bash
# What the drills share: looking at a platform, stopping and starting its processes one by one. Sourced, not run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${CLAWSTEAD_BIN_DIR:-$root/.venv/bin}
READY_SECONDS=${CLAWSTEAD_DRILL_SECONDS:-120}

# begin "$@": read the options, refuse without consent or without a platform that is well.
begin() {
    local consent=
    while [ $# -gt 0 ]; do
        case $1 in
            --yes) consent=1 ;;
            --data-dir) export CLAWSTEAD_DATA_DIR=$2; shift ;;
            *) echo "usage: $0 --yes [--data-dir DIR]" >&2; exit 2 ;;
        esac
        shift
    done
    data=$(realpath "${CLAWSTEAD_DATA_DIR:-$root/data}")
    export CLAWSTEAD_DATA_DIR=$data
    if [ -z "$consent" ]; then
        echo "This damages the platform in $data and repairs it again; --yes says that you want that." >&2
        exit 2
    fi
    [ -n "${CLAWSTEAD_ADMIN_TOKEN:-}" ] || { echo "set CLAWSTEAD_ADMIN_TOKEN: the drill looks at instances" >&2; exit 2; }
    if ! command -v jq >/dev/null || ! command -v curl >/dev/null; then
        echo "jq and curl are needed: apt-get install jq curl" >&2
        exit 3
    fi
    "$bin/clawstead" status >/dev/null || { echo "the platform must be up and ready first: clawstead status" >&2; exit 3; }
    kept=$data/drills/$(basename "$0" .sh)-$(date -u +%Y%m%dT%H%M%S)
    mkdir -p "$kept"
    chmod 700 "$data/drills" "$kept"
    failed=0
    look before
    say "$(jq length "$kept/before.json") instances; what is moved away is kept in $kept"
}

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

finding() { say "FINDING: $*"; failed=1; }

# look NAME: write down what can be seen of all instances.
look() { "$bin/python" "$root/ops/drills/look.py" >"$kept/$1.json"; }

supervisor() { "$bin/supervisorctl" -s "unix://$data/run/supervisor.sock" "$@" >/dev/null; }

# group:name, as the supervisor knows a process.
member() { if [ "$1" = nats ]; then echo nats; else echo "services:$1"; fi; }

stop_process() { supervisor stop "$(member "$1")"; say "$1 is stopped"; }

start_process() { supervisor start "$(member "$1")"; say "$1 is started"; }

# move_away FILE...: what is lost in the drill, and can be put back by hand.
move_away() { mv -- "$@" "$kept/"; say "lost: $*"; }

await() {
    local what=$1 deadline=$((SECONDS + READY_SECONDS))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            finding "$what: not within $READY_SECONDS s"
            return 0
        fi
        sleep 0.5
    done
    say "$what"
}

platform_ready() { "$bin/clawstead" status; }

# as_before: every instance is again what it was, and the containers are the same starts of the same ones.
as_before() { look after && diff -u "$kept/before.json" "$kept/after.json"; }

running_urls() { jq -r '.[] | select(.phase == "running") | .url' "$kept/before.json"; }

# site_answers URL: print the status with which an instance's site answers, 000 if it does not.
site_answers() {
    local host=${1#https://}
    curl --silent --output /dev/null --max-time 5 --cacert "$data/proxy-sync/tls/ca.pem" \
        --resolve "$host:127.0.0.1" --write-out '%{http_code}' "$1/" || true
}

sites_answer() {
    local url
    for url in $(running_urls); do [ "$(site_answers "$url")" = 200 ] || return 1; done
}

# watch_routes: ask every running instance's site over and over, in the background, and write down each miss.
watch_routes() {
    local urls
    urls=$(running_urls)
    : >"$kept/misses"
    echo 0 >"$kept/asked"
    (
        asked=0
        while [ ! -e "$kept/enough" ]; do
            for url in $urls; do
                code=$(site_answers "$url")
                asked=$((asked + 1))
                [ "$code" = 200 ] || echo "$(date -u +%T) $url $code" >>"$kept/misses"
            done
            echo "$asked" >"$kept/asked"
            sleep 0.1
        done
    ) &
    watcher=$!
    trap 'touch "$kept/enough"; wait "$watcher" || true' EXIT
}

routes_watched() {
    touch "$kept/enough"
    wait "$watcher" || true
    trap - EXIT
    local misses
    misses=$(wc -l <"$kept/misses")
    say "the sites were asked $(cat "$kept/asked") times meanwhile and did not answer $misses times"
    if [ "$misses" -gt 0 ]; then finding "a route was away: $(head -3 "$kept/misses" | paste -sd';')"; fi
}

end() {
    if [ "$failed" = 0 ]; then say "passed: everything is as before"; else say "FAILED: see the findings above"; fi
    exit "$failed"
}
