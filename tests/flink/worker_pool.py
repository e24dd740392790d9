"""Beam's pool of Python workers, on the loopback interface alone: ``python worker_pool.py PORT``.

``python -m apache_beam.runners.worker.worker_pool_main --service_port PORT`` is the same service, but listens on every
interface, and whoever reaches it may start a worker.
"""

from __future__ import annotations

import signal
import sys

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

KEEP_ALIVE = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]


def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT; then end the workers as well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    pool = BeamFnExternalWorkerPoolServicer(use_process=True)
    server = grpc.server(shared_unbounded_instance(), options=KEEP_ALIVE)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        signal.pause()
    finally:
        for process in list(pool._worker_processes.values()):
            process.kill()
        server.stop(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
