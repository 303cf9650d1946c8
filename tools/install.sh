#!/bin/sh
# Install into a virtual environment, quietly unless it fails:  tools/install.sh FOLDER 'what is installed' PIP-ARGUMENTS...
set -eu
folder=$1
what=$2
shift 2

echo "Installing $what"
log=$folder/install.log
if ! "$folder/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "Installing $what failed; the whole of pip's output is in $log." >&2
    exit 1
fi
