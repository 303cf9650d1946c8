#!/bin/sh
# Put a headless Chromium into .tools, for the tests of pages that people open in a browser. Never fails: without it those
# tests are skipped, and say so. Debian's own package is unpacked with the libraries that this machine lacks; where there
# is none for it, npm has the program in a package made for servers.
set -u
for name in chromium-headless-shell chromium google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ -x .tools/chromium ]; then
    exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
home="$PWD/.tools/chromium-files"

# The program must find its libraries, and a font to write with, where they lie now.
wrap() {
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" FONTCONFIG_PATH="${FONTCONFIG_PATH:-%s}" exec "%s" "$@"\n' \
        "$1" "$home/etc/fonts" "$2" >.tools/chromium
    chmod +x .tools/chromium
}

works() {
    timeout 60 .tools/chromium --headless --no-sandbox --disable-gpu --dump-dom 'data:text/html,<p>it works' 2>/dev/null |
        grep -q 'it works'
}

from_apt() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    wanted() {
        apt-get install -s --no-install-recommends chromium-headless-shell fontconfig-config fonts-dejavu-core 2>/dev/null |
            awk '/^Inst/ { print $2 }'
    }
    if [ -z "$(wanted)" ] && [ "$(id -u)" = 0 ]; then # a fresh machine has no package lists yet
        timeout 120 apt-get update >/dev/null 2>&1
    fi
    packages=$(wanted)
    [ -n "$packages" ] || return 1
    (cd "$folder" && timeout 300 apt-get -o Acquire::Retries=1 download $packages) >/dev/null 2>&1 || return 1
    rm -rf "$home"
    mkdir -p "$home"
    for package in "$folder"/*.deb; do
        dpkg -x "$package" "$home" || return 1
    done
    program=$(find "$home/usr/lib" "$home/usr/bin" -name 'chromium-headless-shell' -o -name 'headless_shell' | head -n 1)
    [ -n "$program" ] || return 1
    libraries=$(find "$home/usr/lib" "$home/lib" -name '*.so*' 2>/dev/null | sed 's|/[^/]*$||' | sort -u | paste -sd:)
    wrap "$libraries" "$program"
    works
}

from_npm() {
    command -v npm >/dev/null && command -v node >/dev/null || return 1
    (cd "$folder" && timeout 300 npm pack --silent @sparticuz/chromium >/dev/null 2>&1 && tar -xzf ./*.tgz) || return 1
    rm -rf "$home"
    mkdir -p "$home"
    for packed in "$folder"/package/bin/*.br "$folder"/package/bin/*/*.br; do
        [ -f "$packed" ] || continue
        name=$(basename "$packed" .br)
        node -e 'const fs = require("fs"), z = require("zlib");
            fs.writeFileSync(process.argv[2], z.brotliDecompressSync(fs.readFileSync(process.argv[1])))' \
            "$packed" "$home/$name" || return 1
        case $name in *.tar) tar -xf "$home/$name" -C "$home" && rm "$home/$name" ;; esac
    done
    chmod +x "$home/chromium" || return 1
    libraries=$(find "$home" -name '*.so*' | sed 's|/[^/]*$||' | sort -u | paste -sd:)
    wrap "$libraries" "$home/chromium"
    works
}

echo "Fetching Chromium"
mkdir -p .tools
if ! { from_apt || from_npm; }; then
    rm -rf .tools/chromium "$home"
    echo "Chromium could not be had: the tests that need a browser will be skipped"
fi
exit 0
