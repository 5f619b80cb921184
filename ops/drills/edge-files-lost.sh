#!/usr/bin/env bash
# Drill: the edge loses its map, gates, configuration and pages: first while it runs, then while it is stopped.
#
#   ops/drills/edge-files-lost.sh --yes [--data-dir DIR]
#
# docs/runbooks/edge-files-lost.md says what to do when it happens.
# shellcheck source=ops/drills/platform.sh
source "$(dirname "${BASH_SOURCE[0]}")/platform.sh"

begin "$@"
edge=$data/proxy-sync

# shellcheck disable=SC2317 # called by await, as is rebuilt
whole() {
    local file url name
    for file in nginx.conf nginx/routes.map nginx/status.sock pages/unknown.html; do [ -e "$edge/$file" ] || return 1; done
    for url in $(running_urls); do
        name=${url#https://}
        [ -e "$edge/ready/${name%%.*}" ] || return 1
    done
}

authority() { sha256sum <"$edge/tls/ca.pem"; }

# shellcheck disable=SC2317
rebuilt() { "$bin/clawstead" rebuild proxy-sync --twice; }

authority_before=$(authority)

lost_at=$SECONDS
move_away "$edge/nginx.conf" "$edge/nginx/routes.map" "$edge/ready" "$edge/pages"
await "the running edge has its files again" whole
await "every site answers" sites_answer
say "repaired within $((SECONDS - lost_at)) s while it ran"

stop_process proxy-sync
mkdir "$kept/while-stopped"
mv -- "$edge/nginx.conf" "$edge/nginx" "$edge/ready" "$edge/pages" "$edge/tls/site.pem" "$kept/while-stopped/"
say "lost: everything of the edge but its authority"
lost_at=$SECONDS
start_process proxy-sync
await "the edge has its files again" whole
await "every site answers" sites_answer
say "repaired within $((SECONDS - lost_at)) s of the start"

[ "$(authority)" = "$authority_before" ] || finding "the authority that users trust is another one"
await "the table equals what the log says" rebuilt
await "all processes are ready" platform_ready
as_before >&2 || finding "what differs is above"
end
