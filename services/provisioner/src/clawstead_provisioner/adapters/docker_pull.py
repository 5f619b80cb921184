"""Pulling an image through Docker's API, line by line, so that its progress can be told and its silence noticed."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from docker import APIClient
from docker.auth import get_config_header, resolve_repository_name
from docker.errors import create_api_error_from_http_exception
from docker.utils import parse_repository_tag

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Progress, Reason

_SILENCE_SECONDS = 120
"""The engine tells of something several times a second, unless its registry stopped sending."""
_DOWNLOAD_SHARE = 0.7
_DOWNLOADED = frozenset({"Verifying Checksum", "Download complete"})
_ANNOUNCED = "Pulling fs layer"
"""A layer that the engine lacks; those that it has already are no part of the way."""


@dataclass
class _Layer:
    size: int = 0
    """Bytes to download, 0 while that is not known."""
    downloaded: float = 0
    unpacked: float = 0

    @property
    def done(self) -> float:
        return _DOWNLOAD_SHARE * self.downloaded + (1 - _DOWNLOAD_SHARE) * self.unpacked


class PullProgress:
    """How far a pull is, from what the engine tells of its layers: the percentage never falls."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}
        self._percent = 0

    def take(self, line: dict[str, Any]) -> Progress | None:
        """Return the progress after a line of the engine's answer, None if it is not about a layer."""
        status, layer_id = line.get("status", ""), line.get("id", "")
        if layer_id not in self._layers and status != _ANNOUNCED:
            return None
        layer = self._layers.setdefault(layer_id, _Layer())
        detail = line.get("progressDetail") or {}
        fraction = _fraction(detail)
        if status == "Downloading":
            layer.size = max(layer.size, int(detail.get("total") or 0))
            layer.downloaded = max(layer.downloaded, fraction)
        elif status == "Extracting":
            layer.downloaded, layer.unpacked = 1, max(layer.unpacked, fraction)
        elif status in _DOWNLOADED:
            layer.downloaded = 1
        elif status == "Pull complete":
            layer.downloaded = layer.unpacked = 1
        return self._progress()

    def _progress(self) -> Progress:
        layers = self._layers.values()
        sizes = [layer.size for layer in layers if layer.size]
        # Sizes are told when a download begins; until then a layer counts as an average one.
        average = sum(sizes) / len(sizes) if sizes else 1
        weights = [layer.size or average for layer in layers]
        done = sum(weight * layer.done for weight, layer in zip(weights, layers, strict=True)) / sum(weights)
        self._percent = max(self._percent, min(round(100 * done), 100))
        downloading = any(layer.downloaded < 1 for layer in layers)
        step = "downloading the image" if downloading else "unpacking the image"
        return Progress(step=step, percent=self._percent)


def _fraction(detail: dict[str, Any]) -> float:
    total = detail.get("total") or 0
    return min(detail.get("current", 0) / total, 1) if total > 0 else 0


def pull_image(client: APIClient, image: str, timeout_seconds: float, told: Callable[[Progress], None]) -> None:
    """Pull ``image`` to its end.

    Raises:
        ProvisioningError: ``image_missing``: the registry refuses, went silent, or took too long.
        docker.errors.APIError: the engine refused.
        requests.RequestException: the connection to the engine broke.
    """
    repository, tag = parse_repository_tag(image)
    registry, _ = resolve_repository_name(repository)
    credentials = get_config_header(client, registry)
    deadline = time.monotonic() + timeout_seconds
    # Not ``client.pull``: it waits for ever. Closing the connection makes the engine end the pull.
    with client.post(
        f"{client.base_url}/v{client.api_version}/images/create",
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": credentials} if credentials else {},
        stream=True,
        timeout=min(timeout_seconds, _SILENCE_SECONDS),
    ) as answer:
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            create_api_error_from_http_exception(error)
        progress = PullProgress()
        for line in filter(None, answer.iter_lines()):
            if time.monotonic() > deadline:
                raise refused(image, f"not complete after {timeout_seconds:.0f} s")
            document = json.loads(line)
            if "error" in document:
                raise refused(image, str(document["error"]))
            if (now := progress.take(document)) is not None:
                told(now)


def refused(image: str, why: str) -> ProvisioningError:
    """Return the error that says why an image is not there."""
    return ProvisioningError(Reason.IMAGE_MISSING, f"image {image} cannot be pulled: {why[:200]}")
