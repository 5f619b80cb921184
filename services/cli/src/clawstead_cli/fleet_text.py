"""The fleet of a moment, and what differs between two, as tables and text. Pure."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from clawstead_cli.fleet import Difference, Instance
from clawstead_cli.log_lines import plain

_STYLES = {
    "running": "green",
    "healthy": "green",
    "failed": "bold red",
    "unhealthy": "red",
    "removed": "bright_black",
    "stopped": "bright_black",
}
_KINDS = {"appeared": ("+", "green"), "vanished": ("-", "red"), "changed": ("~", "yellow")}


def fleet_table(instances: Iterable[Instance]) -> Table:
    """Return one line for each instance. A generation ``3/4`` is the fourth wished for, the third carried out."""
    columns = ("instance", "name", "desired", "phase", "generation", "image", "route", "verdict")
    table = Table(*columns, box=None, header_style="bold")
    for instance in instances:
        row = instance.row()
        words = [Text(plain(row[name] or ""), _STYLES.get(row[name], "")) for name in ("desired", "phase")]
        verdict = row["verdict"] or ""
        table.add_row(
            instance.id,
            Text(plain(instance.name)),
            *words,
            _generation(row["observed_generation"], row["generation"]),
            Text(plain(row["image"] or "")),
            Text(plain(row["route"] or "")),
            Text(verdict, _STYLES.get(verdict, "")),
        )
    return table


def _generation(observed: int | None, desired: int | None) -> str:
    if observed == desired:
        return str(desired or "")
    return f"{'-' if observed is None else observed}/{'-' if desired is None else desired}"


def difference_text(difference: Difference) -> Text:
    """Return how one instance differs: in one line if it is new or gone, else field by field."""
    sign, style = _KINDS[difference.kind]
    text = Text(f"{sign} {difference.id} ", style).append(plain(difference.name), "bold")
    if difference.kind != "changed":
        row = (difference.after if difference.after.events else difference.before).row()
        said = [
            f"{name} {plain(row[name])}" for name in ("desired", "phase", "generation", "image", "verdict") if row[name]
        ]
        return text.append(f"  {', '.join(said)}", "bright_black")
    for change in difference.changes:
        text.append(f"\n    {plain(change.text)}")
    return text
