"""Progress of a pull, from lines as an engine sends them."""

from typing import Any

from clawstead_provisioner.adapters.docker_pull import PullProgress
from clawstead_shared.events import Progress


def line(status: str, layer: str = "", current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"status": status, "id": layer, "progressDetail": detail}


def percents(*lines: dict[str, Any]) -> list[int | None]:
    progress = PullProgress()
    told = [progress.take(one) for one in lines]
    return [seen.percent for seen in told if seen is not None]


def test_downloads_and_unpacking_both_count() -> None:
    assert percents(
        line("Pulling from openclaw", "1"),
        line("Pulling fs layer", "a"),
        line("Downloading", "a", 50, 100),
        line("Download complete", "a"),
        line("Extracting", "a", 50, 100),
        line("Pull complete", "a"),
        line("Digest: sha256:1"),
    ) == [0, 35, 70, 85, 100]


def test_layers_that_are_here_already_are_no_progress() -> None:
    assert percents(line("Already exists", "a"), line("Pulling fs layer", "b"), line("Downloading", "b", 10, 100)) == [
        0,
        7,
    ]


def test_it_never_falls_when_a_larger_layer_begins() -> None:
    told = percents(
        line("Pulling fs layer", "small"),
        line("Pulling fs layer", "large"),
        line("Downloading", "small", 10, 10),
        line("Pull complete", "small"),
        line("Downloading", "large", 1, 990),
        line("Downloading", "large", 990, 990),
        line("Pull complete", "large"),
    )
    assert told == sorted(told, key=lambda percent: percent or 0)
    assert told[-1] == 100


def test_the_step_says_what_is_waited_for() -> None:
    progress = PullProgress()
    progress.take(line("Pulling fs layer", "a"))
    assert progress.take(line("Downloading", "a", 1, 2)) == Progress(step="downloading the image", percent=35)
    assert progress.take(line("Verifying Checksum", "a")) == Progress(step="unpacking the image", percent=70)


def test_lines_without_sizes_are_borne() -> None:
    assert percents(line("Pulling fs layer", "a"), {"status": "Downloading", "id": "a"}, {"id": "b"}, {}) == [0, 0]
