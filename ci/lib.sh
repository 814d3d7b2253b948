# Sourced by the scripts in ci/: what this project needs on a machine, and how to get it there.
# shellcheck shell=bash
#
#   need COMMAND PACKAGES REASON       note PACKAGES as missing unless COMMAND is there
#   need_gst ELEMENT PACKAGES REASON   the same for a GStreamer element
#   need_gi NAMESPACE PACKAGES REASON  the same for a GObject library, as Python sees it
#   install_needed                     install what was noted, saying what and why; quiet when nothing is
#   need_rust                          libpcap, cargo, rustc, clippy and rustfmt of the version in Cargo.toml
#   fetch_hls_js                       hls.js from npm, once; the tests find it by STREAMGAUGE_HLS_JS
#
# Packages are installed on Debian and Ubuntu, as root or through sudo. Elsewhere the list is printed instead.

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() {
    warn "error: $*"
    exit 1
}

missing_packages=()
missing_reasons=()

# A child must never sit and wait for an answer to a question, nor eat this script's input.
export DEBIAN_FRONTEND=noninteractive

have() { command -v "$1" >/dev/null 2>&1; }

need() {
    have "$1" && return 0
    note_missing "$2" "$3"
}

need_gst() {
    if have gst-inspect-1.0 && gst-inspect-1.0 "$1" >/dev/null 2>&1; then return 0; fi
    note_missing "$2" "$3"
}

# The system's own python3, which is the one that Debian's packages belong to.
need_gi() {
    if /usr/bin/python3 -c "import gi; gi.require_version('$1', '1.0')" 2>/dev/null; then return 0; fi
    note_missing "$2" "$3"
}

has_python() { /usr/bin/python3 -c "import $1" 2>/dev/null; }

note_missing() {
    local package
    for package in $1; do
        case " ${missing_packages[*]-} " in
        *" $package "*) ;;
        *)
            missing_packages+=("$package")
            missing_reasons+=("$package: $2")
            ;;
        esac
    done
}

# Debian or a relative of it, by /etc/os-release.
is_debian_like() {
    local ID='' ID_LIKE=''
    [ -r /etc/os-release ] || return 1
    # shellcheck source=/dev/null
    . /etc/os-release
    case " $ID $ID_LIKE " in *" debian "* | *" ubuntu "*) have apt-get ;; *) return 1 ;; esac
}

is_ubuntu() {
    local ID=''
    [ -r /etc/os-release ] || return 1
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "$ID" = ubuntu ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        die "this needs root, and sudo is not installed: $*"
    fi
}

apt_updated=
apt_update() {
    [ -n "$apt_updated" ] && return 0
    as_root apt-get update -qq </dev/null >/dev/null || die "apt-get update failed"
    apt_updated=yes
}

apt_install() {
    local log
    apt_update
    log=$(mktemp)
    if ! as_root apt-get install -y -qq --no-install-recommends "$@" </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get install failed: $*"
    fi
    rm -f "$log"
}

install_needed() {
    [ ${#missing_packages[@]} -eq 0 ] && return 0
    local reason
    if ! is_debian_like; then
        warn "These packages (by their Debian names) are missing, and this is neither Debian nor Ubuntu:"
        for reason in "${missing_reasons[@]}"; do warn "  $reason"; done
        die "install them, then start this again"
    fi
    say "Installing what is missing here:"
    for reason in "${missing_reasons[@]}"; do say "  $reason"; done
    apt_install "${missing_packages[@]}"
    missing_packages=() missing_reasons=()
}

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

wanted_rust() {
    sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$1/Cargo.toml" | head -n 1
}

rust_suffices() {
    have cargo && version_at_least "$(cargo --version 2>/dev/null | cut -d' ' -f2)" "$1"
}

apt_candidate() {
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][^-+~]*\).*/\1/p'
}

# need_rust ROOT: ROOT/Cargo.toml says which version; and the library that the program is linked with.
need_rust() {
    local want
    if ! have pcap-config && [ ! -e /usr/include/pcap.h ]; then
        note_missing libpcap-dev "the library that sniffing needs"
    fi
    if is_debian_like && [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then
        note_missing ca-certificates "lets cargo know the servers that it fetches crates from"
    fi
    install_needed
    want=$(wanted_rust "$1")
    # A rustup of this user that the shell's start-up files have not put on PATH yet.
    if ! have cargo && [ -x "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"
        export PATH
    fi
    if ! rust_suffices "$want"; then
        if have cargo; then say "Rust $want or newer is needed, here is $(cargo --version)"; fi
        install_rust "$want"
        rust_suffices "$want" || die "Rust $want or newer is still not here; install it from https://rustup.rs"
    fi
    if ! cargo clippy --version >/dev/null 2>&1 || ! cargo fmt --version >/dev/null 2>&1; then
        if have rustup; then
            say "Installing the Rust components clippy and rustfmt: they check the code"
            rustup component add clippy rustfmt >/dev/null 2>&1 || die "rustup component add clippy rustfmt failed"
        else
            is_debian_like || die "cargo clippy and cargo fmt are missing"
            note_missing rust-clippy "checks the code"
            note_missing rustfmt "checks the code's layout"
            install_needed
        fi
    fi
}

install_rust() {
    local version
    if have rustup; then
        say "Installing the stable Rust toolchain with rustup: the program is written in Rust"
        rustup toolchain install stable --profile minimal -c clippy -c rustfmt >/dev/null || die "rustup failed"
        rustup default stable >/dev/null 2>&1 || die "rustup default stable failed"
        return 0
    fi
    is_debian_like || die "Rust $1 or newer is missing; install it from https://rustup.rs, then start this again"
    apt_update
    version=$(apt_candidate cargo)
    if [ -n "$version" ] && version_at_least "$version" "$1"; then
        note_missing "cargo" "builds the program, which is written in Rust"
        note_missing "rust-clippy" "checks the code"
        note_missing "rustfmt" "checks the code's layout"
        install_needed
    elif [ -n "$(apt_candidate rustup)" ]; then
        note_missing rustup "fetches Rust $1 or newer (this release's own cargo is ${version:-none})"
        install_needed
        install_rust "$1"
    else
        die "Rust $1 or newer is missing, and this release packages only ${version:-none}; install it from https://rustup.rs, then start this again"
    fi
}

# The peers that the tests and the demo talk to.
need_peers() {
    need ffmpeg ffmpeg "publishes and plays: an RTMP peer that is not ours"
    need ffprobe ffmpeg "reads what the players got"
    need gst-launch-1.0 "gstreamer1.0-tools" "runs GStreamer, a second RTMP peer that is not ours"
    need_gst flvmux "gstreamer1.0-plugins-good" "GStreamer's FLV"
    need_gst rtmp2src "gstreamer1.0-plugins-base gstreamer1.0-plugins-bad" "GStreamer's RTMP"
    need_gi Gst "python3 python3-gi gir1.2-gstreamer-1.0" "GStreamer in tests/peers"
    need_gi GstRtspServer "gir1.2-gst-rtsp-server-1.0" "an RTSP server that is not ours"
    need_gst rtph264depay "gstreamer1.0-plugins-good" "GStreamer's RTP"
    need_gst rtspsrc "gstreamer1.0-plugins-good" "plays over RTSP"
    need_gst matroskamux "gstreamer1.0-plugins-good" "keeps what GStreamer plays"
    need_gst h264parse "gstreamer1.0-plugins-bad" "GStreamer's parsers"
    need_gst rtspclientsink gstreamer1.0-rtsp "publishes over RTSP"
    need_gst hlsdemux "gstreamer1.0-plugins-bad" "GStreamer's HLS"
    need_gst souphttpsrc "gstreamer1.0-plugins-good" "GStreamer's HTTP"
    has_python yaml || note_missing python3-yaml "reads the CI action as its runners do"
    need script bsdutils "gives the live table a terminal"
    need nginx "nginx-light libnginx-mod-rtmp" "an RTMP server that is not ours"
    need tcpdump tcpdump "sniffs the loopback interface for a count that is not ours"
}

# The HLS player of most web pages. It is kept beside the tree and fetched once.
hls_js_version=1.7.4
hls_js_directory=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/streamgauge/hls.js

has_hls_js() {
    [ -s "$hls_js_directory/package/dist/hls.min.js" ] &&
        grep -q "\"version\": *\"$hls_js_version\"" "$hls_js_directory/package/package.json"
}

# Chromium, or Chrome where that is installed. Ubuntu's chromium is a snap, which apt cannot put on every machine and which
# sees no directories but its own.
need_browser() {
    local name
    for name in chromium google-chrome google-chrome-stable; do
        have "$name" && return 0
    done
    if is_ubuntu; then
        warn "Ubuntu has Chromium as a snap only, which the tests cannot use. Without Google Chrome (a .deb) one test is left out:"
        warn "hls.js in a browser."
        export STREAMGAUGE_WITHOUT=chromium
        return 0
    fi
    note_missing chromium "the browser that plays HLS"
}

# Readers of HLS that only the tests need.
need_hls_readers() {
    need_browser
    need curl curl "asks the API as people do"
    has_hls_js || need npm npm "fetches hls.js, the HLS player of most web pages"
}

fetch_hls_js() {
    export STREAMGAUGE_HLS_JS=$hls_js_directory/package/dist/hls.min.js
    has_hls_js && return 0
    say "Fetching hls.js $hls_js_version: an HLS player that is not ours"
    rm -rf "$hls_js_directory"
    mkdir -p "$hls_js_directory"
    (
        cd "$hls_js_directory"
        npm pack --silent "hls.js@$hls_js_version" >/dev/null && tar -xzf "hls.js-$hls_js_version.tgz"
    ) || die "npm pack hls.js@$hls_js_version failed"
    has_hls_js || die "what npm fetched is not hls.js $hls_js_version"
}

# Where cargo puts what it builds, wherever the user's configuration says.
target_dir() {
    cargo metadata --no-deps --format-version 1 --manifest-path "$1/Cargo.toml" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}
