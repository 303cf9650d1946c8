from __future__ import annotations

from tests.servers import redis_process, redis_server

__all__ = ["redis_process", "redis_server"]
