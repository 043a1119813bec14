# Sourced from the root of the repository.

proof_head() { # proof_head TITLE SEED: the lines that each kept run begins with
    printf 'what:     %s\n' "$1"
    printf 'seed:     %s\n' "$2"
    printf 'date:     %s\n' "$(date -u +%Y-%m-%dT%H:%MZ)"
    printf 'commit:   %s\n' "$(git rev-parse --short HEAD)"
    printf 'schema:   %s\n' "$(ls crates/store/migrations/sqlite | tail -n 1 | cut -d _ -f 1)"
    printf 'machine:  %s, %s cores, Linux %s\n' \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)"
    printf 'compiler: %s\n\n' "$(rustc --version)"
}
