# shellcheck shell=bash
# What several checks need. To be sourced, in the project's directory.

export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PWD/target/tools/bin:$PATH"

# Installs a Debian package where a command is missing; only in CI.
# Usage: need_command COMMAND PACKAGE
need_command() {
    if command -v "$1" >/dev/null; then
        return
    fi
    if [[ ${CI:-} != true ]]; then
        echo "error: $1 is missing (Debian: apt-get install $2)" >&2
        return 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"
}

# Installs a program with cargo into target/tools.
# Usage: cargo_install PACKAGE VERSION
cargo_install() {
    cargo install --locked --root target/tools --version "$2" "$1"
}
