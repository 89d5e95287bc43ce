# Which tools there are, where each one's source is, and where built ones are kept.
# Sourced by the scripts in hack/. The versions themselves stand in hack/tools/*/go.mod.
# shellcheck shell=bash

tools_src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tools" && pwd)

# In the order in which they are of use to somebody who waits for them.
# shellcheck disable=SC2034
all_tools=(etcd kube-apiserver kubectl helm kube-controller-manager)

# tool_source TOOL: prints "MODULE PACKAGE VERSION".
tool_source() {
    case $1 in
        etcd) echo "etcd go.etcd.io/etcd/server/v3 $(required etcd go.etcd.io/etcd/server/v3)" ;;
        helm) echo "helm helm.sh/helm/v4/cmd/helm $(required helm helm.sh/helm/v4)" ;;
        kube-apiserver | kubectl | kube-controller-manager)
            echo "kubernetes k8s.io/kubernetes/cmd/$1 $(required kubernetes k8s.io/kubernetes)" ;;
        *) echo "windlass: no tool is called $1" >&2; return 1 ;;
    esac
}

# tools_dir: the user's cache of built tools, one folder for each set of versions.
tools_dir() {
    local kubernetes etcd helm
    read -r _ _ kubernetes <<<"$(tool_source kube-apiserver)"
    read -r _ _ etcd <<<"$(tool_source etcd)"
    read -r _ _ helm <<<"$(tool_source helm)"
    echo "$(cache_dir)/kubernetes-$kubernetes-etcd-$etcd-helm-$helm-$(uname -m)"
}

cache_dir() { echo "${XDG_CACHE_HOME:-$HOME/.cache}/windlass"; }

# required MODULE PATH: the version of PATH in hack/tools/MODULE/go.mod.
required() {
    awk -v path="$2" '($1 == path && NF >= 2 && $2 ~ /^v/) || ($1 == "require" && $2 == path) { print ($1 == "require") ? $3 : $2; exit }' \
        "$tools_src/$1/go.mod"
}
