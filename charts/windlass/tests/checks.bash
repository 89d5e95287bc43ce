# shellcheck shell=bash disable=SC2034
# Sourced by run and live: finds helm, kubectl and jq, counts checks, and says at the end of each
# group and of all how they went.

chart=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$chart/../.." && pwd)
values=$chart/tests/values
passed=0 failed=0 group='' group_failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Nothing of the user's own helm is read or written.
export HELM_CACHE_HOME=$tmp/helm HELM_CONFIG_HOME=$tmp/helm HELM_DATA_HOME=$tmp/helm

# The versions that the project is tested with, before any other on the PATH.
if [ -x "$root/hack/control-plane" ]; then
    assets=$("$root/hack/control-plane" assets) || exit 2
    PATH=$assets:$PATH
fi
for tool in helm kubectl jq; do
    command -v "$tool" >/dev/null || { echo "$0: needs $tool on the PATH" >&2; exit 2; }
done

# Opens a group of checks, and closes the one before.
group() {
    close_group
    group=$1 group_failed=0
}

close_group() {
    [ -z "$group" ] && return
    if [ "$group_failed" = 0 ]; then echo "ok: $group"; else echo "FAILED: $group"; fi
    group=''
}

# check NAME COMMAND…: passes when the command succeeds; shows its output when not.
check() {
    local name=$1
    shift
    if "$@" >"$tmp/output" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1)) group_failed=$((group_failed + 1))
        echo "  not so: $group: $name"
        sed 's/^/    /' "$tmp/output" | head -20
    fi
}

# refused NAME TEXT COMMAND…: passes when the command fails and says TEXT.
refused() {
    local name=$1 text=$2
    shift 2
    check "$name" fails_with "$text" "$@"
}

fails_with() {
    local text=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "succeeded; expected a failure that says: $text"
        return 1
    fi
    grep -qF -- "$text" <<<"$output" || { echo "expected: $text"; echo "$output"; return 1; }
}

# YAML documents on standard input, one JSON array of them on standard output.
as_json() {
    KUBECONFIG=/dev/null kubectl patch --local --type merge -p '{}' -f - -o json | jq -s .
}

summary() {
    close_group
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
