"""What is kept of an experiment, in the run's folder: enough to judge its claims again without running anything.

    activities.jsonl   each activity as it ended, synced, so that nothing is lost with the process
    history.json       marks, calls, what clients were told, what the relays saw, what was new of watched groups
    journal.json       Chaos Toolkit's, where pytest runs the experiment; `chaos run` writes its own

Nothing is without a limit: texts and lists that are longer are cut, and it is said by how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.chaos.stage import Stage
from harness.evidence.encoding import plain
from harness.evidence.run_folder import RunFolder, file_name

ACTIVITIES, HISTORY, JOURNAL = "activities.jsonl", "history.json", "journal.json"
_LONGEST = 4_000  # characters of one text
_MOST = 5_000  # members of one list


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keeps what belongs to one experiment. place: below the run's folder; empty: right there."""

    folder: RunFolder
    place: str = ""

    def activity(self, value: Mapping[str, Any]) -> None:
        """Add one line to the activities, synced."""
        self._path(ACTIVITIES).parent.mkdir(parents=True, exist_ok=True)
        self.folder.append(self._bounded(value), self._name(ACTIVITIES))

    def journal(self, journal: Mapping[str, Any]) -> None:
        """Keep the journal of Chaos Toolkit."""
        self.folder.write_json(self._name(JOURNAL), self._bounded(journal))

    def history(self, stage: Stage) -> None:
        """Keep what was done and seen since the stage was emptied."""
        since = stage.marks[0]
        self.folder.write_json(
            self._name(HISTORY),
            self._bounded(
                {
                    "edges": stage.edges,
                    "marks": stage.marks,
                    "made": stage.made,
                    "asked": [*stage.clients.asked, *stage.load.asked],
                    "effects": stage.history(since),
                    "knocks": stage.knocks(since=since),
                    "looks": stage.groups.looks,
                }
            ),
        )

    def files(self) -> dict[str, str]:
        """What was kept: text by name below the run's folder."""
        names = (self._name(name) for name in (JOURNAL, ACTIVITIES, HISTORY))
        return {name: file.read_text("utf-8") for name in names if (file := self.folder.path / name).is_file()}

    def _name(self, name: str) -> str:
        return f"{self.place}/{name}" if self.place else name

    def _path(self, name: str) -> Path:
        return self.folder.path / self._name(name)

    def _bounded(self, value: Any) -> Any:
        return bounded(plain(value, self.folder.redactor))


def keeper_of_test(folder: RunFolder, test: str) -> Keeper:
    """For the next experiment of a test: `experiments/<test>`, with a number from the second on."""
    first = f"experiments/{file_name(test)}"
    place, number = first, 1
    while (folder.path / place).exists():
        number += 1
        place = f"{first}-{number}"
    return Keeper(folder, place)


def bounded(value: Any) -> Any:
    """A copy of JSON-like data in which long texts end with how much is missing, and long lists begin with it."""
    if isinstance(value, str):
        rest = len(value) - _LONGEST
        return value if rest <= 0 else f"{value[:_LONGEST]}... and {rest} more characters"
    if isinstance(value, Mapping):
        return {name: bounded(one) for name, one in value.items()}
    if isinstance(value, Sequence):
        rest = len(value) - _MOST
        newest = [bounded(one) for one in value[max(0, rest) :]]
        return newest if rest <= 0 else [{"left_out": rest}, *newest]
    return value
