"""A model for MLServer, which runs this file in its own process: numbers are doubled, truth negated, texts reversed."""

from __future__ import annotations

from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Doubler(MLModel):  # type: ignore[misc]
    """One output for each input, under its name."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs: list[Any] = []
        for given in payload.inputs:
            if given.datatype == "BYTES":
                texts = [text[::-1] for text in StringCodec.decode_input(given)]
                outputs.append(StringCodec.encode_output(given.name, texts))
                continue
            array = NumpyCodec.decode_input(given)
            made = ~array if array.dtype == bool else (array * 2).astype(array.dtype)
            outputs.append(NumpyCodec.encode_output(given.name, made))
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
