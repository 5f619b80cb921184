"""The other edges, set up as their documentation has it: TLS in front, kept connections behind, two cores at most."""

import json
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.edge.connection import Connection, say
from benchmarks.edge.peers_install import Program, configurable_http_proxy, debian
from benchmarks.edge.processes import Running
from benchmarks.edge.visitor import DOMAIN
from tests.support.ports import free_port

THREADS = 2
Routes = dict[str, int]


class Peer(ABC):
    """One edge with some routes, each a label and the loopback port that it leads to."""

    name: str
    most_adds = 100
    """How many routes a measurement may add before it takes too long."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        """Prepare it; ``certificate`` holds the key and the chain."""
        self.folder = folder
        self.certificate = certificate
        self.port = free_port()
        self.running: Running | None = None

    @abstractmethod
    async def start(self, routes: Routes) -> None:
        """Start it with its first routes."""

    @abstractmethod
    async def add(self, label: str, port: int) -> None:
        """Add a route the way that is made for it."""

    def stop(self) -> None:
        """End it."""
        if self.running:
            self.running.end()


class StaticNginx(Peer):
    """The ceiling: nginx whose one upstream stands in its configuration."""

    name = "nginx, static upstream"

    async def start(self, routes: Routes) -> None:
        """Start it; it leads everything to the first route's port."""
        config = self.folder / "nginx.conf"
        config.write_text(f"""
            daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/error.log crit;
            worker_processes {THREADS}; events {{ worker_connections 4096; }}
            http {{
                access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
                fastcgi_temp_path {self.folder}/fastcgi; uwsgi_temp_path {self.folder}/uwsgi;
                scgi_temp_path {self.folder}/scgi; keepalive_requests 1000000;
                upstream backend {{ server 127.0.0.1:{next(iter(routes.values()))}; keepalive 64;
                    keepalive_requests 1000000; }}
                server {{
                    listen 127.0.0.1:{self.port} ssl; server_name *.{DOMAIN};
                    ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate};
                    ssl_session_cache shared:s:2m;
                    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
                        proxy_set_header Host $http_host; }}
                }}
            }}""")
        program = Program(("nginx",), {})
        self.running = await Running.start(
            program, "-p", str(self.folder), "-c", str(config), folder=self.folder, port=self.port
        )

    async def add(self, label: str, port: int) -> None:
        """It takes none."""
        raise NotImplementedError


class HaProxy(Peer):
    """HAProxy with a server for each backend port, and a map that is changed over its runtime API."""

    name = "HAProxy, map"

    def __init__(self, folder: Path, certificate: Path) -> None:
        super().__init__(folder, certificate)
        self._socket = folder / "haproxy.sock"
        self._map = folder / "routes.map"

    async def start(self, routes: Routes) -> None:
        """Start it; only ports that are known now can be added to the map later."""
        self._map.write_text("".join(f"{label}.{DOMAIN} p{port}\n" for label, port in routes.items()))
        backends = "".join(f"backend p{port}\n    server s 127.0.0.1:{port}\n" for port in sorted(set(routes.values())))
        config = self.folder / "haproxy.cfg"
        config.write_text(f"""
global
    nbthread {THREADS}
    maxconn 4096
    stats socket {self._socket} mode 600 level admin
defaults
    mode http
    timeout connect 3s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend edge
    bind 127.0.0.1:{self.port} ssl crt {self.certificate}
    use_backend %[req.hdr(host),field(1,:),lower,map_str({self._map})]
{backends}""")
        self.running = await Running.start(
            debian("haproxy"), "-db", "-f", str(config), folder=self.folder, port=self.port
        )

    async def add(self, label: str, port: int) -> None:
        """Add a line to the map in memory."""
        if answer := await say(str(self._socket), f"add map {self._map} {label}.{DOMAIN} p{port}\n"):
            raise RuntimeError(answer)


class Caddy(Peer):
    """Caddy, with a route in its JSON configuration for each name."""

    name = "Caddy, admin API"
    most_adds = 12

    def __init__(self, folder: Path, certificate: Path) -> None:
        super().__init__(folder, certificate)
        self._admin = free_port()
        self._connection = Connection(self._admin)

    async def start(self, routes: Routes) -> None:
        """Start it with all routes in its configuration."""
        loaded = {"certificate": str(self.certificate), "key": str(self.certificate)}
        server = {
            "listen": [f"127.0.0.1:{self.port}"],
            "routes": [self._route(label, port) for label, port in routes.items()],
            "tls_connection_policies": [{}],
            "automatic_https": {"disable": True},
        }
        config = self.folder / "caddy.json"
        config.write_text(
            json.dumps(
                {
                    "admin": {"listen": f"127.0.0.1:{self._admin}", "config": {"persist": False}},
                    "logging": {"logs": {"default": {"level": "ERROR"}}},
                    "apps": {
                        "http": {"servers": {"edge": server}},
                        "tls": {"certificates": {"load_files": [loaded]}},
                    },
                }
            )
        )
        caddy = debian("caddy")
        home = {"GOMAXPROCS": str(THREADS), "HOME": str(self.folder)}
        program = Program(caddy.command, {**caddy.environment, **home})
        self.running = await Running.start(program, "run", "--config", str(config), folder=self.folder, port=self.port)

    async def add(self, label: str, port: int) -> None:
        """Append a route, which has Caddy set all of them up anew."""
        await _post(self._connection, "/config/apps/http/servers/edge/routes", self._route(label, port))

    def _route(self, label: str, port: int) -> dict[str, object]:
        proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{port}"}]}
        return {"match": [{"host": [f"{label}.{DOMAIN}"]}], "handle": [proxy], "terminal": True}


class ConfigurableHttpProxy(Peer):
    """JupyterHub's configurable-http-proxy, by host."""

    name = "configurable-http-proxy"
    _TOKEN = "benchmark"

    def __init__(self, folder: Path, certificate: Path) -> None:
        super().__init__(folder, certificate)
        self._api = free_port()
        self._connection = Connection(self._api)

    async def start(self, routes: Routes) -> None:
        """Start it and add the routes one by one, as it takes them."""
        program = configurable_http_proxy()
        token = {"CONFIGPROXY_AUTH_TOKEN": self._TOKEN}
        arguments = ["--ip", "127.0.0.1", "--port", self.port, "--api-ip", "127.0.0.1", "--api-port", self._api]
        tls = ["--ssl-key", self.certificate, "--ssl-cert", self.certificate, "--host-routing", "--log-level", "error"]
        self.running = await Running.start(
            Program(program.command, token), *map(str, [*arguments, *tls]), folder=self.folder, port=self.port
        )
        for label, port in routes.items():
            await self.add(label, port)

    async def add(self, label: str, port: int) -> None:
        """Add a route over REST."""
        target, token = {"target": f"http://127.0.0.1:{port}"}, f"Authorization: token {self._TOKEN}\r\n"
        await _post(self._connection, f"/api/routes/{label}.{DOMAIN}", target, token)


async def _post(connection: Connection, path: str, body: object, headers: str = "") -> None:
    headers += "Content-Type: application/json\r\n"
    answer = await connection.ask(f"127.0.0.1:{connection.port}", f"POST {path}", headers, json.dumps(body).encode())
    if answer.status >= 300:
        raise RuntimeError(f"POST {path}: {answer}")


PEERS: tuple[type[Peer], ...] = (HaProxy, Caddy, ConfigurableHttpProxy)
