"""The command line never imports a service, so what it knows of the provisioner's containers is compared here."""

from pathlib import Path

import pytest

from clawstead_cli.doctor import container_checks
from clawstead_cli.settings import Settings
from clawstead_provisioner import spec
from clawstead_provisioner.settings import ProvisionerSettings
from clawstead_shared.ids import new_instance_id


def test_the_drift_audit_expects_the_labels_that_the_provisioner_writes() -> None:
    written = {value for name, value in vars(spec).items() if name.endswith("_LABEL")}
    assert written == container_checks.LABELS
    instance_id = new_instance_id()
    assert container_checks.object_name(instance_id) == spec.object_name(instance_id)


def test_both_call_the_installation_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data_dir = Path("/srv/clawstead")  # pytest's own can be too long for a control socket
    for name in ("", "here"):
        if name:
            monkeypatch.setenv("CLAWSTEAD_INSTALLATION", name)
        ours, theirs = Settings(data_dir=data_dir), ProvisionerSettings(data_dir=data_dir)
        assert ours.installation_id == theirs.installation_id
        assert (ours.instances_source, ours.gateway_host) == (theirs.instances_source, theirs.gateway_host)
