# Long commands that end with their script, however that ends. Sourced by the scripts in hack/.
# shellcheck shell=bash

attended='' temp=''

# attended COMMAND...: runs it to its end, or to the end of this script.
attended() {
    local status=0
    setpriv --pdeathsig TERM "$@" </dev/null &
    attended=$!
    wait "$attended" || status=$?
    attended=''
    return "$status"
}

# end_with_script: called once, at the start; removes $temp as well.
end_with_script() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    trap 'tear_down' EXIT
}

tear_down() {
    trap '' INT TERM HUP
    if [[ $attended ]]; then
        kill -TERM "$attended" 2>/dev/null
        wait "$attended" 2>/dev/null
    fi
    [[ ! $temp ]] || rm -rf "$temp"
}

say() { echo "windlass: $*" >&2; }
fail() { say "$*"; exit 1; }
