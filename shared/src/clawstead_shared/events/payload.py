"""The base of every topic's model: frozen, strict when we write, tolerant when we read."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from clawstead_shared.ids import InstanceId


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
