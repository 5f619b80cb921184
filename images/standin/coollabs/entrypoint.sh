#!/bin/sh
# Does what the platform sees of the real entry script: keys from the environment only, openclaw.json anew at every start.
set -eu

state=${OPENCLAW_STATE_DIR:-/data/.openclaw}
workspace=${OPENCLAW_WORKSPACE_DIR:-/data/workspace}
port=${PORT:-8080}

fail() {
    echo "[entrypoint] ERROR: $*" >&2
    exit 1
}

[ -n "${OPENCLAW_GATEWAY_TOKEN:-}" ] || fail "OPENCLAW_GATEWAY_TOKEN is required."
[ -n "${ANTHROPIC_API_KEY:-}${OPENAI_API_KEY:-}${GEMINI_API_KEY:-}${OPENROUTER_API_KEY:-}" ] \
    || fail "At least one AI provider API key env var is required."

# Below /etc, and for another user: what the image needs root and its capabilities for.
mkdir -p "$state" "$workspace" /etc/profile.d
touch /etc/profile.d/custom-tools.sh
chown node /etc/profile.d/custom-tools.sh

rm -f "$state/openclaw.json"
cp "${OPENCLAW_CUSTOM_CONFIG:-/app/config/openclaw.json}" "$state/openclaw.json"

if [ -n "${AUTH_PASSWORD:-}" ]; then
    for path in /startupz /index.html; do
        echo "$path:${AUTH_USERNAME:-admin}:$AUTH_PASSWORD"
    done >/etc/httpd.conf
fi
echo "[entrypoint] listening on $port"
exec httpd -f -p "0.0.0.0:$port" -h /srv -c /etc/httpd.conf
