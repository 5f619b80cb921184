"""The one-click link: what ``openclaw dashboard --json`` prints, turned into a public address (openclaw.md, 4 C)."""

import json
import re
from urllib.parse import parse_qs, quote, urlsplit

COMMAND = ("openclaw", "dashboard", "--json")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,1024}")


def bootstrap_token(output: str) -> str:
    """Return the single-use token of the link that the command printed.

    Raises:
        ValueError: there is none; the message does not hold the output.
    """
    # The CLI may print warnings around the object.
    start, end = output.find("{"), output.rfind("}")
    try:
        url = str(json.loads(output[start : end + 1])["browserUrl"])
        token = parse_qs(urlsplit(url).fragment)["bootstrapToken"][0]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise ValueError("the instance did not print a dashboard link") from None
    if not _TOKEN.fullmatch(token):
        raise ValueError("the instance printed a dashboard link of an unknown form")
    return token


def dashboard_url(origin: str, token: str) -> str:
    """Return the address that signs a browser in, once. The fragment never reaches a server."""
    return f"{origin}/#bootstrapToken={quote(token, safe='')}&bootstrapProfile=owner"
