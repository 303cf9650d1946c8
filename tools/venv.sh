#!/bin/sh
# Make a virtual environment, unless there is one:  tools/venv.sh FOLDER [PYTHON]
# Without PYTHON it takes the first of the usual names that is new enough.
set -eu
folder=$1
wanted=${2:-}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if new_enough "$folder/bin/python"; then
    exit 0
fi

python=
for candidate in ${wanted:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$("${wanted:-python3}" --version 2>/dev/null) || found="nothing that runs"
    {
        echo "Python 3.11 or later is needed, and ${wanted:-python3} is $found."
        echo "On Debian and Ubuntu:  apt-get install python3 python3-venv"
        echo "If you have one under another name:  make PYTHON=/path/to/python3.12 run"
    } >&2
    exit 1
fi

# Debian keeps a part of Python's own library in a package apart.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$python cannot make virtual environments. On Debian and Ubuntu:  sudo apt-get install $package" >&2
        exit 1
    fi
    echo "Installing $package, without which $python cannot make virtual environments"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$package"; } >/dev/null
fi

echo "Making $folder with $("$python" --version)"
"$python" -m venv "$folder"
