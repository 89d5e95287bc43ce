# With which compiler the agent is built for Windows: rustup's where it has the target, else Debian's with
# a standard library that is built once into the user's cache.
# Sourced by hack/build-windows, after versions.sh and packages.sh.
# shellcheck shell=bash

# shellcheck disable=SC2034,SC2154
windows_target=x86_64-pc-windows-gnu

# use_windows_toolchain [sysroot]: installs what is missing and exports what cargo has to know.
use_windows_toolchain() {
    install_missing <<'END' || return 1
x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-posix
x86_64-w64-mingw32-windmc binutils-mingw-w64-x86-64
cc gcc
/usr/include/stdlib.h libc6-dev
flock util-linux
setpriv util-linux
END
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
    export CC_x86_64_pc_windows_gnu=x86_64-w64-mingw32-gcc AR_x86_64_pc_windows_gnu=x86_64-w64-mingw32-ar
    windows_cargo=cargo
    [[ ${1:-} != sysroot ]] && rustup_has_the_target && return
    use_sysroot
}

rustup_has_the_target() {
    command -v rustup >/dev/null || return 1
    rustup target list --installed 2>/dev/null | grep -qx "$windows_target" && return
    # Who has built the sysroot once has been here without success.
    compgen -G "$(cache_dir)/windows-sysroot-*" >/dev/null && return 1
    say "asking rustup for the target $windows_target"
    attended timeout --kill-after 5 90 rustup target add "$windows_target" >&2 && return
    say 'rustup cannot add it from here'
    return 1
}

# ---- Debian's compiler with a standard library of our own -------------------------------

use_sysroot() {
    local version sysroot
    install_debian_rust || return 1
    version=$(dpkg-query --show --showformat '${Version}' rustc-web)
    sysroot=$(cache_dir)/windows-sysroot-${version//[^0-9A-Za-z.]/-}
    mkdir -p "$(cache_dir)"
    exec 8>"$(cache_dir)/.windows-sysroot.lock"
    if ! flock --nonblock 8; then
        say 'another build of the standard library for Windows is under way, waiting for it'
        flock 8
    fi
    [[ -d $sysroot ]] || build_sysroot "$sysroot" "$version" || return 1
    exec 8>&-
    # SYSROOT is where clippy looks.
    export RUSTC=$sysroot/bin/rustc RUSTDOC=$sysroot/bin/rustdoc SYSROOT=$sysroot
    windows_cargo=/usr/bin/cargo
}

# The compiler refuses a standard library of another version than its own.
install_debian_rust() {
    local wanted found
    [[ $(debian_rust_versions) == 1 ]] || install_packages rustc-web cargo-web rust-web-src || return 1
    [[ $(debian_rust_versions) == 1 ]] ||
        { say "rustc-web, cargo-web and rust-web-src are expected to be of one version, see: apt policy rustc-web cargo-web rust-web-src"; return 1; }
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$windows_root/Cargo.toml")
    found=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$wanted" "$found" | sort --version-sort | head -n 1) == "$wanted" ]] ||
        { say "rustc-web $wanted or later is expected (Debian 12 has it in bookworm-security), found $found"; return 1; }
}

# debian_rust_versions: of how many versions the three packages are; 0 if one is missing.
debian_rust_versions() {
    local versions
    versions=$(dpkg-query --show --showformat '${db:Status-Status} ${Version}\n' rustc-web cargo-web rust-web-src 2>/dev/null) || { echo 0; return; }
    grep -qv '^installed ' <<<"$versions" && { echo 0; return; }
    sort -u <<<"$versions" | wc -l
}

# build_sysroot FOLDER VERSION: what others see of FOLDER is either nothing or all of it.
build_sysroot() {
    local sysroot=$1 libraries=lib/rustlib/$windows_target/lib
    say "building Rust's standard library for Windows with rustc-web $2: about 2 minutes on 2 cores, once"
    rm -rf "$(cache_dir)"/.building-windows-sysroot.*
    temp=$(mktemp -d "$(cache_dir)/.building-windows-sysroot.XXXXXX")
    mkdir -p "$temp/package/src" "$temp/sysroot/bin" "$temp/sysroot/$libraries"
    cat >"$temp/package/Cargo.toml" <<'END'
[package]
name = "std-for-windows"
version = "0.0.0"
edition = "2024"
[profile.release]
debug = 0
END
    : >"$temp/package/src/lib.rs"
    # -Zbuild-std is what needs RUSTC_BOOTSTRAP; what is built with the result does not.
    attended env -C "$temp/package" -u RUSTUP_TOOLCHAIN RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc RUSTFLAGS=-Cembed-bitcode=yes \
        CARGO_TARGET_DIR="$temp/target" CARGO_INCREMENTAL=0 \
        nice /usr/bin/cargo build --quiet --release --target "$windows_target" -Zbuild-std=std,panic_unwind,panic_abort,proc_macro,test >&2 ||
        { say "building Rust's standard library for Windows did not succeed: the lines above say why"; return 1; }
    cp "$temp/target/$windows_target"/release/deps/*.rlib "$temp/sysroot/$libraries"
    rm "$temp/sysroot/$libraries"/libstd_for_windows*
    # What runs on this machine, build scripts and macros, takes Debian's own.
    ln -s /usr/lib/rustlib/x86_64-unknown-linux-gnu "$temp/sysroot/lib/rustlib/"
    local tool
    for tool in rustc rustdoc; do
        printf '#!/bin/sh\nexec /usr/bin/%s --sysroot %q "$@"\n' "$tool" "$sysroot" >"$temp/sysroot/bin/$tool"
        chmod +x "$temp/sysroot/bin/$tool"
    done
    mv "$temp/sysroot" "$sysroot"
    rm -rf "$temp"
    temp=''
}
