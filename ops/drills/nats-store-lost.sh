#!/usr/bin/env bash
# Drill: the store of NATS is lost, and every service says again what it knows.
#
#   ops/drills/nats-store-lost.sh --yes [--data-dir DIR]
#
# docs/runbooks/nats-store-lost.md says what to do when it happens.
# shellcheck source=ops/drills/platform.sh
source "$(dirname "${BASH_SOURCE[0]}")/platform.sh"

begin "$@"
watch_routes
stop_process nats
move_away "$data/nats/jetstream"
start_process nats
await "the streams are declared anew" "$bin/clawstead" streams apply
await "the desired states are in the log again" "$bin/clawstead" resync --yes
await "all processes are ready" platform_ready
await "every instance is as it was, in the same container" as_before
as_before || finding "what differs is above"
routes_watched
end
