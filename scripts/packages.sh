# shellcheck shell=bash
# The Debian and Ubuntu packages of setup.sh: finds out which are missing, installs those, starts no service.

missing=()

has_command() { command -v "$1" >/dev/null; }
need() { has_command "$1" || add "$2"; }
add() { case " ${missing[*]} " in *" $1 "*) ;; *) missing+=("$1") ;; esac; }

in_lists() { [ -n "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([^(].*\)/\1/p')" ]; }
have_lists() { compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; }

refresh_lists() {
    if [ "$(id -u)" != 0 ] || ! has_command apt-get; then return; fi
    apt-get update -qq || say "apt-get update failed, going on with the lists that are here"
}

# A fresh machine has no lists at all, and says that it knows no package.
has_candidate() {
    in_lists "$1" && return
    if have_lists; then return 1; fi
    refresh_lists
    in_lists "$1"
}

# Prints the first Python that is new enough and complete; Debian ships the venv module apart.
python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

need_python() {
    python >/dev/null && return
    if ! has_command python3 || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        add python3-venv
    elif has_candidate python3.11-venv; then
        add python3.11-venv
    else
        fail "needs Python 3.11 or newer, $(python3 --version) is too old, and apt has no newer one"
    fi
}

need_docker() {
    engine_answers && return
    need dockerd docker.io
    # Newer releases put the command into a package of its own.
    if ! has_command docker && has_candidate docker-cli; then add docker-cli; else need docker docker.io; fi
}

need_chromium() {
    if has_command chromium || has_command google-chrome; then return; fi
    if has_candidate chromium; then
        add chromium
    else
        say "apt has no chromium here: install one by hand, or the browser tests will say that it is missing"
    fi
}

need_static_busybox() {
    local busybox
    busybox=$(command -v busybox) || { add busybox-static; return; }
    if ldd "$busybox" >/dev/null 2>&1; then add busybox-static; fi
}

need_postgresql() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || add postgresql; }

# Not for an nginx from elsewhere: Debian's modules fit Debian's nginx only, and without them routes change by reloads.
need_nginx_lua() {
    if has_command nginx && ! dpkg-query -W nginx-common >/dev/null 2>&1; then return; fi
    if [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ]; then return; fi
    if has_candidate libnginx-mod-http-lua; then add libnginx-mod-http-lua; fi
}

find_missing() {
    local dev=$1 image=$2
    need_python
    need_docker
    need iptables iptables
    need nginx nginx
    need_nginx_lua
    if [ "$image" = yes ]; then need mmdebstrap mmdebstrap; fi
    if [ "$dev" = yes ]; then
        need_static_busybox
        need_postgresql
        need_chromium
        need shellcheck shellcheck
        need curl curl
        need sudo sudo
        need pebble pebble
        need named bind9
        need jq jq
        need ip iproute2
    fi
}

# Packages ask this script before they start their service; ours are started by us, if at all.
forbid_service_starts() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then return; fi
    # shellcheck disable=SC2064 # the path is known now, and not when the trap runs
    trap "rm -f $policy" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

apt_install() (
    forbid_service_starts
    apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
)

# What we installed for its binary must not come up as a service of the machine at the next boot.
disable_new_services() {
    local package
    [ -d /run/systemd/system ] || return 0
    for package in "${missing[@]}"; do
        case $package in
            nginx|postgresql) systemctl disable --now "$package" >/dev/null 2>&1 || true ;;
            bind9) systemctl disable --now named >/dev/null 2>&1 || true ;;
        esac
    done
}

# install_packages DEV IMAGE: both yes or no, as in setup.sh.
install_packages() {
    find_missing "$1" "$2"
    if [ "${#missing[@]}" = 0 ]; then return; fi
    has_command apt-get || fail "these are missing, and this is not a Debian or Ubuntu machine: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        fail "packages are missing. Run this, then try again:" \
            "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    fi
    say "installing packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    refresh_lists
    apt_install "${missing[@]}" >.cache/apt.log 2>&1 || fail "apt-get install failed:" "$(tail -15 .cache/apt.log)"
    disable_new_services
}
