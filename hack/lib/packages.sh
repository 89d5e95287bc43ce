# Installs Debian packages, as root or by sudo.
# Sourced by the scripts in hack/ and .ci/.
# shellcheck shell=bash

# install_missing: reads lines "COMMAND PACKAGE" and installs the packages of those commands that are
# not on PATH. A COMMAND with a slash is a file.
install_missing() {
    local missing=() command package
    while read -r command package; do
        [[ -e $command ]] || command -v "$command" >/dev/null || missing+=("$package")
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

install_packages() {
    local sudo=()
    command -v apt-get >/dev/null || { echo "windlass: $* wanted, and there is no apt-get: install what Debian has in these packages" >&2; return 1; }
    ((EUID == 0)) || sudo=(sudo)
    echo "windlass: installing $*" >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive sh -c '
        apt-get update -qq && exec apt-get install -qq --yes --no-remove --no-install-recommends "$@"' _ "$@" >&2 </dev/null ||
        { echo "windlass: installing $* did not succeed: the lines above say why" >&2; return 1; }
}
