"""Settings that would only fail later are refused at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from clawstead_provisioner.settings import ProvisionerSettings


def test_the_installation_is_named_after_where_its_data_lives_unless_named() -> None:
    one, other = (ProvisionerSettings(data_dir=Path(path)) for path in ("/srv/one", "/srv/other"))
    assert one.installation_id != other.installation_id
    assert len(one.installation_id) == 12
    assert ProvisionerSettings(installation="mine").installation_id == "mine"


def test_a_pool_too_small_for_the_ports_is_refused() -> None:
    with pytest.raises(ValidationError, match="no /29"):
        ProvisionerSettings(network_pool="10.0.0.0/24")
    ProvisionerSettings(network_pool="10.0.0.0/24", first_gateway_port=10000, last_gateway_port=10031)


def test_a_range_of_ports_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="below"):
        ProvisionerSettings(first_gateway_port=20000, last_gateway_port=10000)


def test_the_engine_sees_absolute_paths() -> None:
    assert ProvisionerSettings(data_dir=Path("data")).instances_source.is_absolute()
    assert ProvisionerSettings(instances_dir_on_host=Path("/host/i")).instances_source == Path("/host/i")
