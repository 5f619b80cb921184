"""What a host can hold, as its provisioner tells it: the API refuses instances that would not fit."""

from pydantic import Field

from clawstead_shared.events.payload import Record


class HostBudget(Record):
    """The sums of limits that running instances may reach on one host, over-allocation included."""

    memory_bytes: int = Field(gt=0)
    cpus: float = Field(gt=0)
    instances: int = Field(gt=0)
    """How many instances the host has addresses and ports for."""

    @classmethod
    def read(cls, data: bytes) -> "HostBudget":
        """Parse what this or a newer version wrote.

        Raises:
            pydantic.ValidationError: the data is not JSON or breaks the schema.
        """
        return cls.model_validate_json(data, extra="ignore")
