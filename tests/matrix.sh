#!/usr/bin/env bash
# `make matrix`: the tests with other versions of Python and HAProxy, and with the lowest versions that
# pyproject.toml allows of what zeromesh needs; each in a Debian of its own, in a folder.
#
# ON      which of them; all without it
# TESTS   the files or folders to run; all tests without it
# MATRIX  the folder for the folders; .matrix without it. A Debian that is there is used again
# MIRROR  where Debian comes from; without it from where this machine's apt has it. What pip installs in
#         there comes from where this machine's pip has it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

declare -A DEBIAN=([3.11]=bookworm [3.13]=trixie [3.14]=sid [lowest]=bookworm)
declare -A PYTHON=([3.11]=3.11 [3.13]=3.13 [3.14]=3.14 [lowest]=3.11)
PACKAGES=ca-certificates,haproxy,netbase,python3,python3-venv
matrix=$(realpath -m "${MATRIX:-.matrix}")
read -ra on <<<"${ON:-3.11 3.13 3.14 lowest}"
read -ra tests <<<"${TESTS:-}"

die() {
    echo "make matrix: $*" >&2
    exit 2
}

mirror() { # from where this machine's apt has the release that it is itself
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n "s/^$codename //p" | head -n 1
}

lowest() { # the lowest versions that pyproject.toml allows, as pip wants them
    sed -n '/^dependencies = \[/,/^]/ s/^ *"\(.*\)",$/\1/p' pyproject.toml | sed 's/>=/==/'
}

make_debian() { # release folder
    echo "making a Debian $1 in $2"
    mkdir -p "$matrix"
    rm -rf --one-file-system "$2.part"
    debootstrap --variant=minbase --include="$PACKAGES" "$1" "$2.part" "$MIRROR" >"$2.log" 2>&1 ||
        die "debootstrap failed: see $2.log"
    mv "$2.part" "$2"
}

copy_settings() { # folder: what this machine knows of the net, and of where its pip gets things
    local file
    local configs=(/etc/xdg/pip/pip.conf /etc/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf")
    [ -z "${PIP_CONFIG_FILE:-}" ] || configs+=("$PIP_CONFIG_FILE")
    for file in /etc/resolv.conf "${configs[@]}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${PIP_CONSTRAINT:-}" \
        $(sed -n 's/^ *\(cert\|constraint\) *= *//p' "${configs[@]}" 2>/dev/null); do
        if [ -f "$file" ]; then
            mkdir -p "$1$(dirname "$file")"
            cp -L --remove-destination "$file" "$1$file"
        fi
    done
    [ -e "$1/etc/hosts" ] || echo "127.0.0.1 localhost" >"$1/etc/hosts"
}

copy_project() { # folder: as it is here, without what git ignores
    mkdir -p "$1/zeromesh"
    find "$1/zeromesh" -mindepth 1 -delete
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        tar --create --null --files-from=- --ignore-failed-read 2>/dev/null |
        tar --extract --no-same-owner --directory="$1/zeromesh"
}

within() { # folder command…: in the project there, with a /proc and terminals that are gone when it ends
    unshare --mount --pid --fork --kill-child bash -c '
        mount -t proc proc "$1/proc" || exit
        mount --bind /dev/pts "$1/dev/pts" || echo "no /dev/pts in there: tests of terminals are skipped"
        exec chroot "$1" env -u VIRTUAL_ENV -u PYTHONPATH -u CI PATH=/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /zeromesh && exec \"\$@\"" sh "${@:2}"' within "$@"
}

run() { # name folder
    local has pins=()
    has=$(chroot "$2" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "$has" = "${PYTHON[$1]}" ] || die "Debian ${DEBIAN[$1]} has Python $has, not ${PYTHON[$1]}"
    copy_settings "$2"
    copy_project "$2"
    [ "$1" != lowest ] || mapfile -t pins < <(lowest)
    [ -d "$2/venv" ] || within "$2" python3 -m venv /venv
    within "$2" python -m pip install --quiet --disable-pip-version-check -e '.[test]' "${pins[@]}"
    echo "with ${pins[*]:-the newest}, $(chroot "$2" haproxy -v | head -n 1 | cut -d ' ' -f 1-3)"
    within "$2" python -m pytest -m "not soak" -n 4 --dist worksteal "${tests[@]}"
}

for name in "${on[@]}"; do
    [ -n "${DEBIAN[$name]:-}" ] || die "there is no '$name': ON is some of 3.11 3.13 3.14 lowest"
done
[ "$(id -u)" -eq 0 ] || die "a Debian in a folder needs root: run it as root, best on a machine that is for that"
command -v debootstrap >/dev/null || die "debootstrap is not installed: on Debian, apt-get install debootstrap"
unshare --mount true 2>/dev/null || die "nothing can be mounted here: a container needs CAP_SYS_ADMIN for it"
MIRROR=${MIRROR:-$(mirror)}
[ -n "$MIRROR" ] || die "this machine's apt names no mirror of Debian: give one, as MIRROR=http://…"

failed=0
lines=()
for name in "${on[@]}"; do
    folder=$matrix/$name
    [ -d "$folder" ] || make_debian "${DEBIAN[$name]}" "$folder"
    echo "== $name"
    set +e
    (set -e && run "$name" "$folder" </dev/null 2>&1) | tee "$folder.log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed=1
    set -e
    lines+=("$name: $(tail -n 1 "$folder.log")")
done
printf '%s\n' "== all" "${lines[@]}"
exit $failed
