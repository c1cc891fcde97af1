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

# Sees to a JDK that has windows, and to letters for them; installs one only in CI.
# Usage: need_jdk
need_jdk() {
    need_command "${JAVA_HOME:+$JAVA_HOME/bin/}javac" default-jdk || return
    if [[ ${CI:-} != true ]]; then
        return
    fi
    local java packages=()
    java=$(readlink -f "$(command -v "${JAVA_HOME:+$JAVA_HOME/bin/}javac")")
    [[ -e ${java%/bin/javac}/lib/libawt_xawt.so ]] || packages+=(default-jre)
    [[ -d /usr/share/fonts/truetype/dejavu ]] || packages+=(fontconfig fonts-dejavu-core)
    if [[ ${#packages[@]} -gt 0 ]]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
}

# Installs a program with cargo into target/tools. It runs for seconds, so compiling it is what takes time.
# Usage: cargo_install PACKAGE VERSION
cargo_install() {
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --locked --root target/tools --version "$2" "$1"
}

# Downloads Debian packages with all of their dependencies that this system has not, and installs nothing.
# Usage: download_packages DIRECTORY PACKAGE[=VERSION]...
download_packages() {
    mkdir -p "$1/partial" &&
        apt-get install -y -qq --download-only --reinstall --allow-downgrades --no-install-recommends \
            -o Dir::Cache::archives="$1" -o APT::Sandbox::User=root "${@:2}"
}

# Unpacks what was downloaded. The directory is there when all of it is.
# Usage: unpack_packages PACKAGES DIRECTORY
unpack_packages() {
    local package
    rm -rf "$2.part"
    for package in "$1"/*.deb; do
        dpkg -x "$package" "$2.part" || return
    done
    mv "$2.part" "$2"
}
