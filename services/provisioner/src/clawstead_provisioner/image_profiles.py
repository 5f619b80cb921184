"""What an image needs to run a gateway from it, as data: ``image_profiles.toml``, and a file of the operator's.

Nothing else in this service knows the paths, ports or variables of any image. Pure, apart from reading the file.
"""

import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Channel, Provider, Reason

PROFILE_LABEL = "ing.clawstead.profile"
"""Label of an image: its profile, whatever its name is."""
PLUGINS_LABEL = "ing.clawstead.plugins"
"""Label of an image: the plugins in it that its profile does not know of, separated by commas."""
DEFAULT_PROFILE = "openclaw"

_PACKAGED = "image_profiles.toml"
_MIB = 1024 * 1024


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mounts(_Data):
    """Where the instance's directories are in the container."""

    config: str = Field(pattern="^/")
    workspace: str = Field(pattern="^/")
    auth: str | None = Field(default=None, pattern="^/")
    """None: the image has no such directory."""

    @property
    def workspace_inside_config(self) -> str | None:
        """The workspace's name in the config directory, if it is mounted there."""
        workspace = PurePosixPath(self.workspace)
        return workspace.name if workspace.parent == PurePosixPath(self.config) else None


class ConfigFile(_Data):
    """The gateway's config, as this image reads it."""

    file: str = Field(default="openclaw.json", pattern=r"^[\w.-]+$")
    """Name in the config directory."""
    port: int = Field(default=18789, ge=1, le=65535)
    """Where the gateway listens; another one than the container's port if the image puts a proxy before it."""
    live: bool = True
    """The gateway takes over changes of the file while it runs; otherwise each one needs another container."""
    bind: Literal["lan", "loopback"] = "lan"
    proxies: tuple[str, ...] = ()
    """Addresses besides the edge's that the gateway has to trust: the image's own proxy."""
    schema_name: str = Field(default="", alias="schema", pattern=r"^[\w.-]*$")
    """Stored schema that a config has to keep, ``openclaw-<version>``; empty: only the gateway itself checks it."""

    @property
    def version(self) -> str:
        """The OpenClaw version of the schema, empty if there is none."""
        return self.schema_name.removeprefix("openclaw-")


class ImageProfile(_Data):
    """One kind of image."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    repositories: tuple[str, ...]
    """Shell patterns of the repositories it is for, without registry and tag."""
    command: tuple[str, ...] = ()
    """Empty: the image's own."""
    user: str
    uid: int = Field(ge=0)
    """Whom the instance's directories belong to, as user and as group."""
    read_only: bool = True
    capabilities: tuple[str, ...] = ()
    """What the image cannot do without; all others are dropped."""
    home: str = Field(pattern="^/")
    port: int = Field(ge=1, le=65535)
    """Where the container serves."""
    startup_path: str = Field(pattern="^/")
    """Answers 200 once the gateway has started."""
    health_path: str = Field(pattern="^/")
    """Answers 200 while the gateway lives."""
    minimum_memory_mib: int = Field(ge=1)
    """Measured: with less it dies in its first turn."""
    channels: tuple[Channel, ...]
    """Channels that need no plugin."""
    plugins: tuple[str, ...] = ()
    """Plugins in the image that its OpenClaw package lacks."""
    secrets: Literal["file", "environment"]
    """Where the gateway gets keys and bot tokens from: ``.env`` in the config directory, or its environment."""
    needs_api_key: bool = False
    """The image ends at once if no provider's key is in its environment."""
    gateway_token_variables: tuple[str, ...]
    bot_token_variables: dict[Channel, str] = {
        Channel.TELEGRAM: "TELEGRAM_BOT_TOKEN",
        Channel.DISCORD: "DISCORD_BOT_TOKEN",
    }
    api_key_variables: dict[Provider, str] = {
        Provider.ANTHROPIC: "ANTHROPIC_API_KEY",
        Provider.OPENAI: "OPENAI_API_KEY",
        Provider.GEMINI: "GEMINI_API_KEY",
        Provider.OPENROUTER: "OPENROUTER_API_KEY",
    }
    environment: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    """Directories in memory, with their mount options."""
    mounts: Mounts
    config: ConfigFile

    @property
    def minimum_memory_bytes(self) -> int:
        """The least memory that an instance works with."""
        return self.minimum_memory_mib * _MIB

    def with_plugins(self, labels: Mapping[str, str]) -> "ImageProfile":
        """Return the profile with the plugins that an image's labels name besides."""
        named = {name.strip() for name in labels.get(PLUGINS_LABEL, "").split(",")} - {"", *self.plugins}
        return self.model_copy(update={"plugins": (*self.plugins, *sorted(named))}) if named else self


class ImageProfiles(RootModel[tuple[ImageProfile, ...]]):
    """All profiles, in the order in which they are tried."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _has_default(self) -> "ImageProfiles":
        if DEFAULT_PROFILE not in self._by_name:
            raise ValueError(f"there is no profile called {DEFAULT_PROFILE}")
        return self

    @cached_property
    def _by_name(self) -> dict[str, ImageProfile]:
        return {profile.name: profile for profile in self.root}

    def of(self, image: str, labels: Mapping[str, str]) -> ImageProfile:
        """Return the profile of an image, or of a container, which has its image's labels.

        Raises:
            ProvisioningError: ``image_unusable``: it names a profile that there is not.
        """
        if named := labels.get(PROFILE_LABEL):
            if named not in self._by_name:
                known = ", ".join(self._by_name)
                message = f"image {image} asks for the profile {named}: there are {known}"
                raise ProvisioningError(Reason.IMAGE_UNUSABLE, message)
            return self._by_name[named].with_plugins(labels)
        repository = _repository_of(image)
        for profile in self.root:
            if any(fnmatchcase(repository, pattern) for pattern in profile.repositories):
                return profile.with_plugins(labels)
        return self._by_name[DEFAULT_PROFILE].with_plugins(labels)


def load_profiles(path: Path | None = None) -> ImageProfiles:
    """Return the packaged profiles, after those of the operator's file if there is one.

    Raises:
        ValueError: the file cannot be read, or what it says makes no sense.
    """
    packaged = _read(files("clawstead_provisioner").joinpath(_PACKAGED).read_text())
    if path is None:
        return _assembled([], packaged)
    try:
        return _assembled(_read(path.read_text()), packaged)
    except (OSError, ValidationError, ValueError) as error:
        raise ValueError(f"CLAWSTEAD_IMAGE_PROFILES_FILE {path}: {error}") from error


def _read(text: str) -> list[dict[str, Any]]:
    profiles = tomllib.loads(text).get("profiles", [])
    if not isinstance(profiles, list) or not all(isinstance(one, dict) and "name" in one for one in profiles):
        raise ValueError("expected [[profiles]], each with a name")
    return profiles


def _assembled(first: Sequence[dict[str, Any]], packaged: Sequence[dict[str, Any]]) -> ImageProfiles:
    replaced = {one["name"] for one in first}
    listed = [*first, *(one for one in packaged if one["name"] not in replaced)]
    by_name = {one["name"]: one for one in (*packaged, *first)}
    return ImageProfiles.model_validate([_completed(one, by_name) for one in listed])


def _completed(profile: dict[str, Any], by_name: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    own = {key: value for key, value in profile.items() if key != "base"}
    base = profile.get("base")
    if base is None:
        return own
    if base not in by_name or "base" in by_name[base]:
        raise ValueError(f"profile {profile['name']}: base must name a profile without a base, not {base}")
    return {**by_name[base], **own}


def _repository_of(image: str) -> str:
    # A first part with a dot or a colon, or localhost, is a registry: Docker's own rule.
    directory, slash, last = image.partition("@")[0].rpartition("/")
    registry, _, rest = directory.partition("/")
    if "." in registry or ":" in registry or registry == "localhost":
        directory, slash = rest, "/" if rest else ""
    return f"{directory}{slash}{last.partition(':')[0]}"
