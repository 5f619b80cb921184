#!/usr/bin/env bash
# Installs what Clawstead needs and this machine lacks, and nothing else. Quick when nothing is missing.
#
#   packages -> uv in .tools/ -> Python packages in .venv/ -> certbot in .tools/certbot/ -> a running Docker engine -> images
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A user's PATH lacks the directories of dockerd, nginx and iptables.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# shellcheck source=scripts/packages.sh
. scripts/packages.sh
# shellcheck source=scripts/engine.sh
. scripts/engine.sh

readonly LOCK_SECONDS=1800

dev=no
certbot=no
image=yes

usage() {
    cat <<'EOF'
scripts/setup.sh [--dev] [--certbot] [--no-image]

  --dev       also what the tests need: certbot, an ACME server, Chromium, PostgreSQL, the stand-in gateway, linters
  --certbot   also certbot and its DNS plugins, for a certificate that browsers trust
  --no-image  do not build the OpenClaw image

CLAWSTEAD_IMAGE names another image for the instances: then none is built. CLAWSTEAD_CERTIFICATES other than "local"
means --certbot.
EOF
}

say() { printf '[setup] %s\n' "$*"; }

fail() {
    printf '[setup] %s\n' "$@" >&2
    exit 1
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --dev) dev=yes certbot=yes ;;
            --certbot) certbot=yes ;;
            --no-image) image=no ;;
            -h|--help) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    case ${CLAWSTEAD_IMAGE:-openclaw:local} in openclaw:local) ;; *) image=no ;; esac
    # Once there, it is kept up to date: also when a newer uv takes its folder away.
    if [ "${CLAWSTEAD_CERTIFICATES:-local}" != local ] || [ -d .tools/certbot ]; then certbot=yes; fi
}

only_one_at_a_time() {
    mkdir -p .cache
    exec 9>.cache/setup.lock
    flock --nonblock 9 && return
    say "another setup is running, waiting for it"
    flock --timeout "$LOCK_SECONDS" 9 || fail "the other setup is still running after $LOCK_SECONDS s"
}

# Behind a private certificate authority pip and uv must trust what the system trusts.
trust_system_certificates() {
    local bundle=/etc/ssl/certs/ca-certificates.crt
    if [ -r "$bundle" ]; then
        export PIP_CERT=${PIP_CERT:-$bundle} SSL_CERT_FILE=${SSL_CERT_FILE:-$bundle}
    fi
}

install_uv() {
    local wanted
    wanted=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' scripts/tools.lock)
    if [ "$(.tools/bin/uv --version 2>/dev/null | cut -d' ' -f2)" = "$wanted" ]; then return; fi
    say "installing uv $wanted into .tools/"
    "$(python)" -m venv --clear .tools
    .tools/bin/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r scripts/tools.lock \
        || fail "uv was not installed: does pip reach a package index?"
}

# uv reads no pip.conf. The hashes of the locks say what a package is, so any index the machine trusts will do.
use_indexes_of_pip() {
    local config index extra
    config=$(.tools/bin/python -m pip config list 2>/dev/null)
    index=$(pip_setting index-url <<<"$config")
    extra=$(pip_setting extra-index-url <<<"$config")
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}; fi
    if [ -n "$extra" ]; then export UV_INDEX=${UV_INDEX:-$extra}; fi
    export UV_INDEX_STRATEGY=unsafe-best-match
}

# The environment's value comes before the files' in pip's list, as it does in effect.
pip_setting() { sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | head -1 | sed 's/\\n/ /g'; }

# A tree that was set up for development stays so: "make up" must not take the tests' packages away.
lock_file() {
    if [ "$dev" = yes ] || [ -e .venv/.clawstead-dev ]; then echo requirements-dev.lock; else echo requirements.lock; fi
}

python_stamp() {
    { pwd; cat "$1" scripts/tools.lock shared/build-requirements.lock shared/pyproject.toml services/*/pyproject.toml; } | sha256sum
}

install_python_packages() {
    local lock stamp members=() project
    lock=$(lock_file)
    [ -r "$lock" ] || fail "$lock is missing: run 'make lock'"
    stamp=$(python_stamp "$lock")
    if [ "$(cat .venv/.clawstead-stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c ''; then return; fi
    use_indexes_of_pip
    say "installing the Python packages of $lock into .venv/"
    .venv/bin/python -c '' 2>/dev/null || .tools/bin/uv venv --quiet --clear --python "$(python)" .venv
    for project in shared services/*/; do
        if [ -e "$project/pyproject.toml" ]; then members+=(--editable "${project%/}"); fi
    done
    rm -f .venv/.clawstead-stamp
    # Compiled now: who runs it later may not write here, and would compile it all each time.
    .tools/bin/uv pip sync --quiet --compile-bytecode --python .venv --require-hashes "$lock" \
        || fail "the Python packages were not installed: does uv reach a package index?"
    .tools/bin/uv pip install --quiet --python .venv --no-deps --build-constraints shared/build-requirements.lock "${members[@]}" \
        || fail "the services were not installed into .venv/"
    if [ "$dev" = yes ]; then touch .venv/.clawstead-dev; fi
    echo "$stamp" >.venv/.clawstead-stamp
}

# In an environment of its own: nothing of it is imported, and its versions are none of the services' concern.
install_certbot() {
    local lock=scripts/certbot.lock home=.tools/certbot stamp
    if [ "$certbot" = no ]; then return; fi
    stamp=$({ pwd; cat "$lock"; } | sha256sum)
    if [ "$(cat "$home/.clawstead-stamp" 2>/dev/null)" = "$stamp" ] && "$home/bin/python" -c ''; then return; fi
    use_indexes_of_pip
    say "installing certbot and its DNS plugins into $home/"
    rm -f "$home/.clawstead-stamp"
    "$home/bin/python" -c '' 2>/dev/null || .tools/bin/uv venv --quiet --clear --python "$(python)" "$home"
    .tools/bin/uv pip sync --quiet --compile-bytecode --python "$home" --require-hashes "$lock" \
        || fail "certbot was not installed: does uv reach a package index?"
    echo "$stamp" >"$home/.clawstead-stamp"
}

build_images() {
    if [ "$dev" = yes ]; then images/standin/build.sh >/dev/null; fi
    if [ "$image" = yes ]; then images/openclaw/build.sh; fi
}

parse "$@"
only_one_at_a_time
trust_system_certificates
install_packages "$dev" "$image"
install_uv
install_python_packages
install_certbot
start_engine
build_images
