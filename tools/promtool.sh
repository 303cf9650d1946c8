#!/bin/sh
# Put Prometheus' promtool into .tools, for the one test that checks /metrics with it. Never fails: without it that test
# is skipped, and says so.
set -u
if command -v promtool >/dev/null || [ -x .tools/promtool ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "promtool is not here and there is no apt to fetch it with: the test that needs it will be skipped"
    exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fetch() {
    (cd "$folder" && timeout 120 apt-get -o Acquire::Retries=1 download prometheus) >/dev/null 2>&1
}

echo "Fetching promtool"
if ! fetch && [ "$(id -u)" = 0 ]; then # a fresh machine has no package lists yet
    timeout 120 apt-get update >/dev/null 2>&1
    fetch
fi
if dpkg -x "$folder"/prometheus_*.deb "$folder/unpacked" 2>/dev/null && mkdir -p .tools; then
    mv "$folder/unpacked/usr/bin/promtool" .tools/promtool
else
    echo "promtool could not be fetched: the test that needs it will be skipped"
fi
exit 0
