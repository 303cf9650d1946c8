"""What the simulated server says of itself and of its models: metadata, status, metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["NAMES", "VERSION", "config", "metadata", "metrics", "server", "signature", "status"]

#: The only version that each model has.
VERSION: Final = "1"
#: The models where none were configured.
NAMES: Final = ("dummy", "resnet")


def server() -> dict[str, Any]:
    return {"name": "OpenVINO Model Server (simulated)", "version": "2025.4", "extensions": ["binary_tensor_data"]}


def metadata(model: str) -> dict[str, Any]:
    """Of the Open Inference Protocol. The simulated model takes other tensors, too."""
    tensor = {"datatype": "FP32", "shape": [-1, -1]}
    return {
        "name": model,
        "versions": [VERSION],
        "platform": "OpenVINO",
        "inputs": [{"name": "input", **tensor}],
        "outputs": [{"name": "output", **tensor}],
    }


def signature(model: str) -> dict[str, Any]:
    """TensorFlow Serving's metadata of the same."""

    def tensor(name: str) -> dict[str, Any]:
        dimensions = [{"size": "-1"}, {"size": "-1"}]
        return {name: {"name": name, "dtype": "DT_FLOAT", "tensorShape": {"dim": dimensions, "unknownRank": False}}}

    default = {"inputs": tensor("input"), "outputs": tensor("output"), "methodName": "tensorflow/serving/predict"}
    return {
        "modelSpec": {"name": model, "version": VERSION},
        "metadata": {
            "signature_def": {
                "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
                "signatureDef": {"serving_default": default},
            }
        },
    }


def status() -> dict[str, Any]:
    """Of one model, as TensorFlow Serving says it."""
    ok = {"error_code": "OK", "error_message": "OK"}
    return {"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": ok}]}


def config(models: Iterable[str]) -> dict[str, Any]:
    return {model: status() for model in models}


def metrics(
    models: Iterable[str], answered: Counter[tuple[str, str, str]], failed: Counter[tuple[str, str, str]]
) -> bytes:
    """In Prometheus' text format. Counts are by API, method and model."""
    lines = []
    for name, words, counts in (
        ("ovms_requests_success", "Number of successful requests to a model or a DAG.", answered),
        ("ovms_requests_fail", "Number of failed requests to a model or a DAG.", failed),
    ):
        lines += [f"# HELP {name} {words}", f"# TYPE {name} counter"]
        for (api, method, model), value in sorted(counts.items()):
            labels = f'api="{api}",interface="REST",method="{method}",name="{_escaped(model)}"'
            lines.append(f"{name}{{{labels}}} {value}")
    lines += [
        "# HELP ovms_current_requests Number of inference requests currently in process.",
        "# TYPE ovms_current_requests gauge",
    ]
    lines += [f'ovms_current_requests{{name="{_escaped(model)}",version="{VERSION}"}} 0' for model in models]
    return "\n".join([*lines, ""]).encode()


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
