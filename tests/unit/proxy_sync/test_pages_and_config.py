"""What nginx is given to read: pages that load nothing, and a configuration without surprises."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from clawstead_proxy_sync import nginx_conf, pages
from clawstead_proxy_sync.nginx_conf import NginxConfig

CONFIG = NginxConfig(
    domain="claw.example.test",
    https_port=8443,
    http_port=8080,
    public_port_suffix=":8443",
    addresses=("0.0.0.0", "[::]"),
    api="127.0.0.1:8700",
    terminal="127.0.0.1:8710",
    route_question="127.0.0.1:8702/route",
    content_security_policy=pages.content_security_policy(),
    certificate="tls/site.pem",
    certificate_key="tls/site.pem",
    certificate_digest="d1",
    workers=2,
    drain_seconds=300,
    user="www-data www-data",
)


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_each_page_says_what_it_is_in_both_forms(page: pages.Page) -> None:
    files = pages.render()
    html = files[f"{page.name}.html"].decode()
    assert page.heading in html
    assert "Clawstead" in html
    if page.slug is None:
        assert page.status == 200
        return
    problem = json.loads(files[f"{page.name}.json"])
    assert (problem["status"], problem["title"], problem["detail"]) == (page.status, page.title, page.text)
    assert problem["type"] == f"urn:clawstead:problem:{page.slug}"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_pages_bring_everything_along_and_their_policy_allows_just_that(page: pages.Page) -> None:
    html = pages.render()[f"{page.name}.html"].decode()
    assert not re.search(r"(src|href)=\"(?!data:|/)", html)
    policy = pages.content_security_policy()
    for content in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", html, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_only_pages_that_may_end_by_themselves_look_again() -> None:
    assert {page.name for page in pages.PAGES if page.refresh_seconds} == {"starting", "stopped", "failed"}


def test_the_configuration_is_the_same_for_the_same_values() -> None:
    assert nginx_conf.render(CONFIG) == nginx_conf.render(CONFIG)
    assert nginx_conf.revision(CONFIG) in nginx_conf.render(CONFIG)


@pytest.mark.parametrize("change", [{"domain": "other.test"}, {"certificate_digest": "d2"}, {"workers": 1}])
def test_the_revision_tells_configurations_and_certificates_apart(change: dict[str, Any]) -> None:
    assert nginx_conf.revision(replace(CONFIG, **change)) != nginx_conf.revision(CONFIG)


def test_a_candidate_table_is_checked_under_the_limits_that_it_will_be_served_under() -> None:
    check = nginx_conf.render_map_check()
    assert f"include {nginx_conf.CANDIDATE_MAP_FILE};" in check
    for setting in re.findall(r"map_hash_\w+ \d+;", nginx_conf.render(CONFIG)):
        assert setting in check


def test_dots_of_the_domain_match_only_dots() -> None:
    text = nginx_conf.render(CONFIG)
    assert r"\.claw\.example\.test$" in text


def test_every_level_that_adds_a_header_adds_transport_security() -> None:
    """An add_header cancels those of the levels above it."""
    for block in re.split(r"\n\s*(?:location|server) ", nginx_conf.render(CONFIG)):
        own = block.split("location ")[0]
        if "add_header" in own:
            assert "Strict-Transport-Security" in own


def test_error_pages_are_never_named_locations() -> None:
    """Those answer a POST with 405."""
    assert not re.search(r"error_page [^;]*@", nginx_conf.render(CONFIG))


def test_neither_log_holds_a_query_string() -> None:
    text = nginx_conf.render(CONFIG)
    log_format = text[text.index("log_format") : text.index("access_log")]
    assert not re.search(r"\$(request|request_uri|args|query_string|http_referer|http_authorization)\b", log_format)
    assert "error_log nginx/error.log crit;" in text


def test_workers_need_no_user_when_the_master_is_not_root() -> None:
    assert "\nuser " not in nginx_conf.render(replace(CONFIG, user=None))
    assert "\nuser www-data www-data;" in nginx_conf.render(CONFIG)
