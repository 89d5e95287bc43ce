# Long commands that end with their script, however that ends. Sourced by the scripts in hack/.
# shellcheck shell=bash

# Set by the script: a folder to remove, and a command to run before that, when the script ends.
temp='' at_end=:
attended=''

# attended COMMAND...: runs it, in a process group of its own, to its end or to the end of this script.
attended() {
    local status=0
    setpriv --pdeathsig TERM setsid "$@" </dev/null &
    attended=$!
    wait "$attended" || status=$?
    attended=''
    return "$status"
}

# end_with_script: called once, at the start.
end_with_script() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    trap 'tear_down' EXIT
}

tear_down() {
    set +e
    trap '' INT TERM HUP
    if [[ $attended ]]; then
        kill -TERM -- "-$attended" "$attended" 2>/dev/null
        wait "$attended" 2>/dev/null
    fi
    "$at_end"
    [[ ! $temp ]] || rm -rf "$temp"
}

say() { echo "windlass: $*" >&2; }
fail() { say "$*"; exit 1; }
