"""The base of every topic's model: frozen, strict when we write, tolerant when we read."""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from clawstead_shared.ids import InstanceId


class ExtensibleEnum(StrEnum):
    """Words that later versions may add to: a reader takes one that it does not know for ``unknown``."""

    @classmethod
    def _missing_(cls, value: object) -> "ExtensibleEnum | None":
        return cls("unknown") if isinstance(value, str) and value != "unknown" else None

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Mark the schema, so that an added word does not count as a breaking change."""
        schema = handler.resolve_ref_schema(handler(core))
        schema["x-extensible"] = True
        return schema


class Record(BaseModel):
    """A part of a payload. Building one in code with an unknown field is an error; reading one is not."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Payload(Record):
    """What one topic says about one instance, in full."""

    instance_id: InstanceId

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Parse JSON written by this or a newer version: unknown fields are ignored, at any depth.

        Raises:
            pydantic.ValidationError: the data is not JSON or breaks the schema.
        """
        return cls.model_validate_json(data, extra="ignore")
