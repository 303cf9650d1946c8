"""A model in a store: a folder goes up as a version, comes down checked, and can be shared by a URL.

python examples/model_storage.py ./my-model my-team/my-model 1.0

The store is S3, or any that speaks its API: S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY and S3_BUCKET in the environment
or in .env. Needs the extra [s3].
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ipfs_accelerate_py.api_backends import s3_kit
from ipfs_accelerate_py.errors import StoreError


def main(folder: str, name: str, version: str = "1.0") -> None:
    with s3_kit() as api:
        stored = api.upload_model(folder, name, version)
        print(f"stored:  {stored['name']} {stored['version']}, {stored['files']} files, {stored['size']} bytes")

        again = api.upload_model(folder, name, version)
        print(f"again:   {again['uploaded']} sent, for the store has them")

        print("models: ", [f"{each['name']} {each['version']}" for each in api.list_models(name)])

        with tempfile.TemporaryDirectory() as place:
            copy = Path(place) / "copy"
            api.download_model(name, version, copy)
            same = all(path.read_bytes() == (copy / path.relative_to(folder)).read_bytes() for path in files(folder))
            print("fetched:", "the same" if same else "something else")

        try:
            api.download_model(name, "no-such-version", Path(folder) / "nothing")
        except StoreError as error:
            print("refused:", error)

        key = api.list_objects(prefix="models/blobs/")["objects"][0]["key"]
        print("to share for ten minutes:", api.create_presigned_url(key=key, expiration=600))


def files(folder: str) -> list[Path]:
    return [path for path in Path(folder).rglob("*") if path.is_file()]


if __name__ == "__main__":
    main(*sys.argv[1:])
