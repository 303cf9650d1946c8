"""The gateway: an OpenAI-compatible server in front of every backend, and of the models on this machine.

::

    from ipfs_accelerate_py.gateway import load_config, serve
    serve(load_config("gateway.yaml"))

Within a test or another program, on a thread of its own::

    with GatewayServer(load_config("gateway.yaml"), port=0) as gateway:
        openai.OpenAI(base_url=gateway.url, api_key="any")
"""

from ipfs_accelerate_py.gateway.config import GatewayConfig, load_config
from ipfs_accelerate_py.gateway.server import GatewayServer, RunningGateway, serve

__all__ = ["GatewayConfig", "GatewayServer", "RunningGateway", "load_config", "serve"]
