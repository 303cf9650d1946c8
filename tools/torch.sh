#!/bin/sh
# Install the torch that constraints.txt names, before anything that would bring another:  tools/torch.sh FOLDER
set -eu
folder=$1
pinned=$(grep '^torch==' constraints.txt)

if "$folder/bin/python" -m pip freeze --disable-pip-version-check 2>/dev/null | grep -q "^$pinned\(+\|$\)"; then
    exit 0
fi
if ! tools/install.sh "$folder" "$pinned (the largest part, once)" "$pinned"; then
    {
        echo
        echo "If pip found no such version, then there is no wheel of $pinned for $("$folder/bin/python" --version) on"
        echo "this machine, or none where pip looks. Either"
        echo "  - begin again with another Python:    rm -rf $folder; make PYTHON=python3.12 run"
        echo "  - say where the wheel lies:           PIP_FIND_LINKS=/folder/with/wheels make run"
        echo "    (pytorch.org names the index that has smaller, CPU-only ones: PIP_EXTRA_INDEX_URL=...)"
        echo "  - or do without local models:         $folder/bin/pip install '.[gateway]'; $folder/bin/ipfs-accelerate serve"
    } >&2
    exit 1
fi
