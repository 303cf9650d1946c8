#!/bin/sh
# Put MLServer into .tools/mlserver, a virtual environment of its own (it holds FastAPI and protobuf back), for the tests
# that ask a real server by the Open Inference Protocol. Never fails: without it those tests are skipped, and say so.
#   tools/mlserver.sh PYTHON
set -u
folder=.tools/mlserver
if [ -x "$folder/bin/mlserver" ]; then
    exit 0
fi

echo "Installing MLServer into $folder"
rm -rf "$folder"
mkdir -p .tools
if "$1" -m venv "$folder" >/dev/null 2>&1 &&
    timeout 600 "$folder/bin/python" -m pip install --disable-pip-version-check --no-input 'mlserver>=1.7,<2' \
        >"$folder/install.log" 2>&1; then
    exit 0
fi
echo "MLServer could not be installed: the tests that need it will be skipped"
rm -rf "$folder"
exit 0
