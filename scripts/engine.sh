# shellcheck shell=bash
# The Docker engine of setup.sh: a running one is left alone.

readonly ENGINE_SECONDS=30
readonly ENGINE_LOG=/var/log/clawstead-dockerd.log
readonly ENGINE_PID=/var/run/docker.pid CONTAINERD_PID=/var/run/docker/containerd/containerd.pid

engine_answers() { timeout 10 docker version >/dev/null 2>&1; }

systemd_runs() { [ -d /run/systemd/system ]; }

explain_engine_to_user() {
    local socket=/var/run/docker.sock
    if [ -S "$socket" ] && [ ! -w "$socket" ]; then
        fail "you may not use the Docker engine. Run this, log in again, then try again:" \
            "  sudo usermod -aG docker $(id -un)"
    fi
    if systemd_runs; then
        fail "the Docker engine is not running. Run this, then try again:" "  sudo systemctl enable --now docker"
    fi
    fail "the Docker engine is not running, and only root can start it. Run this:" "  sudo $PWD/scripts/setup.sh"
}

# runs NAME FILE: whether FILE holds the process id of a running NAME.
runs() { [ "$(cat "/proc/$(cat "$2" 2>/dev/null)/comm" 2>/dev/null)" = "$1" ]; }

# What a killed engine leaves: once another process has that number, dockerd takes it for a running one and gives up.
forget_dead_engine() {
    runs dockerd "$ENGINE_PID" || rm -f "$ENGINE_PID"
    runs containerd "$CONTAINERD_PID" || rm -f "$CONTAINERD_PID"
}

# In a session of its own, without our files: it must outlive this script and a Ctrl-C, and hold no lock.
launch_dockerd() {
    setsid dockerd >"$ENGINE_LOG" 2>&1 </dev/null 3>&- 4>&- 9>&- &
}

wait_for_engine() {
    local waited
    for ((waited = 0; waited < ENGINE_SECONDS * 5; waited++)); do
        if engine_answers; then return; fi
        sleep 0.2
    done
    if systemd_runs; then fail "the Docker engine does not answer: see 'journalctl -u docker'"; fi
    fail "the Docker engine does not answer; the last it said:" "$(tail -5 "$ENGINE_LOG" 2>/dev/null)" \
        "In a container Docker needs one that is privileged."
}

start_engine() {
    engine_answers && return
    if [ -n "${DOCKER_HOST:-}" ]; then fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer"; fi
    if [ "$(id -u)" != 0 ]; then explain_engine_to_user; fi
    say "starting the Docker engine"
    if systemd_runs; then
        systemctl start docker || fail "systemctl could not start docker: see 'journalctl -u docker'"
    elif ! runs dockerd "$ENGINE_PID"; then
        forget_dead_engine
        launch_dockerd
    fi
    wait_for_engine
}
