#!/bin/sh
# Makes the keys of the bus's users once, gives each service its own, and tells the server who they are.
set -eu

readonly SERVICE_UID=10001
store=/nats/jetstream

# Streams of a server that knew no users yet lie where the users' account does not look.
if [ -d "$store/\$G" ] && [ ! -d "$store/CLAWSTEAD" ]; then
    if python -c 'import socket; socket.create_connection(("nats", 4222), 2)' 2>/dev/null; then
        echo "the streams must move, but NATS runs: stop the platform with 'docker compose down' first" >&2
        exit 1
    fi
    mv "$store/\$G" "$store/CLAWSTEAD"
fi

CLAWSTEAD_DATA_DIR=/keys clawstead streams users >/users/accounts.new
mv /users/accounts.new /users/accounts.conf

for directory in /seeds/*; do
    install -m 0400 "/keys/nats/seeds/${directory##*/}.nk" "$directory/own.new"
    case ${directory##*/} in
        # They use the engine's socket, and so are root: without the right to read what belongs to others.
        provisioner | terminal) ;;
        *) chown "$SERVICE_UID:$SERVICE_UID" "$directory/own.new" ;;
    esac
    mv "$directory/own.new" "$directory/own.nk"
done
