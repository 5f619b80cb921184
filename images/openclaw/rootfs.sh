#!/usr/bin/env bash
# rootfs.sh OUT.tar: a minimal Debian (or Ubuntu) root of this machine's own release, from this machine's own apt sources.
set -euo pipefail

readonly OUT=$1
readonly PACKAGES=ca-certificates,tini,procps,hostname,curl,git,openssl,lsof

# The distribution's own repositories only: a third party's have no place in the image.
sources() {
    # shellcheck disable=SC2016 # the names in $() are apt's
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        | awk -v codename="$1" '
            $1 == "Packages" && ($2 == "Debian" || $2 == "Ubuntu") && index($4, codename) == 1 && $4 !~ /backports|proposed/ {
                print "deb", $3, $4, $5
            }' | sort -u
}

proxies() {
    local http='' https=''
    eval "$(apt-config shell http Acquire::http::Proxy https Acquire::https::Proxy)"
    case $http in ''|DIRECT) ;; *) export http_proxy=$http ;; esac
    case $https in ''|DIRECT) ;; *) export https_proxy=$https ;; esac
}

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?no VERSION_CODENAME in /etc/os-release}")
list=$(mktemp)
trap 'rm -f "$list"' EXIT
sources "$codename" >"$list"
if [ ! -s "$list" ]; then
    echo "apt knows no repository of $codename: run 'apt-get update' and try again" >&2
    exit 1
fi
proxies

keyrings=()
for keyring in /usr/share/keyrings/{debian,ubuntu}-archive-keyring.{gpg,pgp}; do
    if [ -e "$keyring" ]; then keyrings+=("--keyring=$keyring"); fi
done

mode=auto
if [ "$(id -u)" = 0 ]; then mode=root; fi

# The single quotes are meant: $1 is the new root, filled in by mmdebstrap.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --mode="$mode" --include="$PACKAGES" "${keyrings[@]}" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='chroot "$1" groupadd -g 1000 node' \
    --customize-hook='chroot "$1" useradd -m -u 1000 -g 1000 -s /bin/bash node' \
    --customize-hook='mkdir -p "$1/home/node/.openclaw/workspace" "$1/home/node/.config/openclaw"' \
    --customize-hook='chroot "$1" chown -R 1000:1000 /home/node && chmod 700 "$1/home/node/.openclaw"' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/* "$1"/etc/resolv.conf' \
    --customize-hook=': >"$1/etc/machine-id"; echo localhost >"$1/etc/hostname"' \
    "$codename" "$OUT" "$list"
