#!/usr/bin/env bash
# Drill: the API's database is lost, and instances, history and gateway tokens come back from the log.
#
#   ops/drills/api-database-lost.sh --yes [--data-dir DIR]
#
# docs/runbooks/api-database-lost.md says what to do when it happens.
# shellcheck source=ops/drills/platform.sh
source "$(dirname "${BASH_SOURCE[0]}")/platform.sh"

begin "$@"
if [ -n "${CLAWSTEAD_DATABASE_URL:-}" ]; then
    echo "this drill moves the SQLite file; with PostgreSQL rename the database instead, as the runbook says" >&2
    exit 2
fi
watch_routes
stop_process api
move_away "$data"/api/api.db*
start_process api
await "the API is ready, with a new database" platform_ready
await "every instance is as its owner left it, in the same container" as_before
as_before || finding "what differs is above"
routes_watched
end
