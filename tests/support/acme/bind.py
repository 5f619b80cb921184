"""A real BIND for one zone: takes dynamic updates (RFC 2136) by key, and answers the ACME server."""

import base64
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.support.ports import free_port

_KEY = "acme-update"
_START_SECONDS = 10


class BindServer:
    """One named; TXT records of ``_acme-challenge`` may be changed by who has the key, and nothing else."""

    def __init__(self, directory: Path, zone: str) -> None:
        directory.mkdir()
        self.port = free_port()
        self.secret = base64.b64encode(os.urandom(32)).decode()
        self._log = directory / "named.log"
        config = self._configure(directory, zone)
        # A copy: where AppArmor confines /usr/sbin/named, that one may read /etc/bind only.
        found = shutil.which("named", path=f"{os.environ['PATH']}:/usr/sbin")
        assert found, "named is not installed: run make setup-dev"
        binary = shutil.copy(found, directory / "named")
        with self._log.open("ab") as out:
            self._process = subprocess.Popen([binary, "-g", "-4", "-n", "1", "-c", config], stdout=out, stderr=out)
        self._wait_listening()

    def _configure(self, directory: Path, zone: str) -> Path:
        (directory / "zone").write_text(
            f"$TTL 1\n@ IN SOA ns.{zone}. admin.{zone}. 1 60 60 60 1\n@ IN NS ns.{zone}.\nns IN A 127.0.0.1\n"
        )
        config = directory / "named.conf"
        config.write_text(
            f'key "{_KEY}" {{ algorithm hmac-sha256; secret "{self.secret}"; }};\n'
            f'options {{ directory "{directory}"; listen-on port {self.port} {{ 127.0.0.1; }};\n'
            " pid-file none; session-keyfile none; recursion no; dnssec-validation no; empty-zones-enable no; };\n"
            "controls { };\n"
            f'zone "{zone}" {{ type master; file "zone"; journal "zone.jnl";\n'
            f' update-policy {{ grant "{_KEY}" name _acme-challenge.{zone}. txt; }}; }};\n'
        )
        return config

    def credentials(self) -> str:
        """Return the plugin's file."""
        lines = {"server": "127.0.0.1", "port": self.port, "name": _KEY, "secret": self.secret}
        lines["algorithm"] = "HMAC-SHA256"
        return "".join(f"dns_rfc2136_{name} = {value}\n" for name, value in lines.items())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _wait_listening(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"named does not listen: {self._log.read_text()}")
