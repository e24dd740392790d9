"""Beam's pool of Python workers on the loopback interface, for several TaskManagers: ``worker_pool.py PORT``.

On a cluster ``python -m apache_beam.runners.worker.worker_pool_main --service_port PORT`` runs beside each TaskManager.
It listens on every interface. And it tells workers apart by their names alone, which each TaskManager counts from 1-1:
shared by two, it ends the worker of one when the other stops its own.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance


class Pool(BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]  # Beam has no types
    """Starts workers as processes. A worker ends by itself when its TaskManager closes the connection, or is lost."""

    def __init__(self) -> None:
        super().__init__(use_process=True)
        self.started: list[subprocess.Popen[bytes]] = []

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        answer = super().StartWorker(request, context)
        if worker := self._worker_processes.pop(request.worker_id, None):
            self.started = [one for one in self.started if one.poll() is None] + [worker]
        return answer

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802
        return beam_fn_api_pb2.StopWorkerResponse()


def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT; then end the workers as well."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    pool = Pool()
    server = grpc.server(shared_unbounded_instance())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        signal.pause()
    finally:
        for worker in pool.started:
            worker.kill()
        server.stop(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
