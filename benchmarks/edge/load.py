"""Requests at full speed over kept TLS connections, and what they cost the edge."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.edge.peers_install import Program, debian
from benchmarks.edge.processes import Running, cpu_seconds
from benchmarks.edge.visitor import DOMAIN
from tests.support.ports import free_port

CONNECTIONS = 32

# wrk resolves the name of its URL, which no resolver of the machine need know; it is also what TLS asks for.
_SCRIPT = """
local resolve = wrk.resolve
wrk.resolve = function(host, service) resolve("127.0.0.1", service) end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one round came to."""

    per_second: float
    cpu_microseconds: float
    """Of the edge, per request."""
    p99_ms: float
    failed: int


def drive(port: int, label: str, seconds: float, edge: Callable[[], list[psutil.Process]], folder: Path) -> Load:
    """Send requests as fast as they are answered, and read the edge's processes before and after."""
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT)
    wrk = debian("wrk")
    arguments = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(script)]
    command = [*wrk.command, *arguments, f"https://{label}.{DOMAIN}:{port}/"]
    before = cpu_seconds(edge())
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **wrk.environment})
    spent = cpu_seconds(edge()) - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, microseconds, p99, failed = map(int, line.split()[1:])
    return Load(requests / microseconds * 1e6, spent / max(requests, 1) * 1e6, p99 / 1000, failed)


@contextlib.asynccontextmanager
async def backend(folder: Path) -> AsyncIterator[int]:
    """Run what stands behind all edges, an nginx that answers two bytes at once; yield its port."""
    port = free_port()
    config = folder / "backend.conf"
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"""
        daemon off; pid {folder}/backend.pid; error_log {folder}/backend-error.log crit; worker_processes 1;
        events {{ worker_connections 8192; }}
        http {{
            access_log off; client_body_temp_path {folder}/body; {temporary}
            keepalive_requests 10000000;
            server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
        }}""")
    program = Program(("nginx",), {})
    running = await Running.start(program, "-p", str(folder), "-c", str(config), folder=folder, port=port)
    try:
        yield port
    finally:
        running.end()
