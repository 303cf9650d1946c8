#!/bin/sh
# Put the libraries that benchmarks compare with into .tools/peers, a virtual environment of their own: they hold others
# back, and nothing else may come to need them. Benchmarks leave them out where they are not there, and say so.
#   tools/peers.sh PYTHON
set -u
folder=.tools/peers
if [ -x "$folder/bin/litellm" ]; then
    exit 0
fi

echo "Installing LiteLLM and the openai client into $folder"
rm -rf "$folder"
mkdir -p .tools
if "$1" -m venv "$folder" >/dev/null 2>&1 &&
    timeout 900 "$folder/bin/python" -m pip install --disable-pip-version-check --no-input 'litellm[proxy]>=1.100,<2' openai \
        >"$folder/install.log" 2>&1; then
    exit 0
fi
echo "They could not be installed: benchmarks will leave them out"
rm -rf "$folder"
exit 0
