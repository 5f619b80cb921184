#!/usr/bin/env bash
# Drill: all containers and their networks are removed by hand, and come back with their data.
#
#   ops/drills/containers-lost.sh --yes [--data-dir DIR]
#
# docs/runbooks/containers-lost.md says what to do when it happens.
# shellcheck source=ops/drills/platform.sh
source "$(dirname "${BASH_SOURCE[0]}")/platform.sh"

label=ing.clawstead.instance

ids() { jq -r '.[].id' "$kept/before.json"; }

marker() { echo "$data/instances/$1/workspace/.clawstead-drill"; }

remove_objects() {
    local id
    for id in $(ids); do docker ps --all --quiet --filter "label=$label=$id"; done >"$kept/containers"
    for id in $(ids); do docker network ls --quiet --filter "label=$label=$id"; done >"$kept/networks"
    xargs --no-run-if-empty docker rm --force >/dev/null <"$kept/containers"
    # The provisioner is at work already: what it has made again meanwhile is in use, and stays.
    xargs --no-run-if-empty --max-args=1 docker network rm >/dev/null 2>&1 <"$kept/networks" || true
    say "lost: $(wc -l <"$kept/containers") containers and their networks"
}

# same_but_containers: everything that owners see is as before, and each running instance has one new container.
same_but_containers() {
    look after
    diff -u <(jq 'map(del(.containers))' "$kept/before.json") <(jq 'map(del(.containers))' "$kept/after.json") &&
        jq --exit-status 'all(.[]; .phase != "running" or (.containers | length == 1))' "$kept/after.json" >/dev/null &&
        ! jq -r '.[].containers[].id' "$kept/after.json" | grep --quiet --file=<(cut -c1-12 "$kept/containers")
}

ports() { jq -r '.[].id' "$kept/before.json" | xargs -I{} docker ps --filter "label=$label={}" --format '{{.Names}} {{.Ports}}' | sort; }

begin "$@"
for id in $(ids); do echo "$id" >"$(marker "$id")"; done
ports >"$kept/ports-before"
lost_at=$SECONDS
remove_objects
await "every instance runs again, in a new container" same_but_containers
same_but_containers >&2 || finding "what differs is above"
await "every site answers" sites_answer
say "the containers were away for $((SECONDS - lost_at)) s at most"
for id in $(ids); do
    [ "$(cat "$(marker "$id")" 2>/dev/null)" = "$id" ] || finding "$id has lost what was in its workspace"
    rm -f "$(marker "$id")"
done
ports >"$kept/ports-after"
cmp -s "$kept/ports-before" "$kept/ports-after" || say "ports have changed: $(diff "$kept/ports-before" "$kept/ports-after" | grep -c '^>')"
end
