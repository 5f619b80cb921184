"""A service's own numbers: what it tells at ``/metrics``."""

from http.client import HTTPConnection, HTTPException

from prometheus_client.parser import text_string_to_metric_families

from clawstead_cli.errors import UnreachableError

_TIMEOUT_SECONDS = 2.0
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_OK = 200


def metrics(host: str, port: int) -> dict[str, float]:
    """Return every sample by name, those of one name added up.

    Raises:
        UnreachableError: nobody answers there, or not with numbers.
    """
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read(_MAX_ANSWER_BYTES).decode(errors="replace")
        if response.status != _OK:
            raise UnreachableError(f"port {port} has no numbers to tell ({response.status})")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (OSError, HTTPException, ValueError) as error:
        raise UnreachableError(f"the service on port {port} does not tell its numbers: {error}") from error
    finally:
        connection.close()
    totals: dict[str, float] = {}
    for sample in samples:
        totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals
