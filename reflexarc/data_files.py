"""What `reflexarc data` does with files: list, show, verify, repair, delete, merge."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from reflexarc.output import Output

if TYPE_CHECKING:
    from recording.folder import EpisodeFile
    from recording.quality_report import QualityReport


@dataclass(frozen=True)
class ListConfig:
    """What to list."""

    # The folder with the episodes.
    folder: Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class ShowConfig:
    """What to show."""

    # The episode's file.
    episode: Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True)
class VerifyConfig:
    """What to verify."""

    # Folders and files.
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class RepairConfig:
    """What to repair."""

    # Folders and files.
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class DeleteConfig:
    """What to delete."""

    # The folder with the episodes.
    folder: Annotated[Path, tyro.conf.Positional]
    # Their numbers.
    numbers: Annotated[tuple[int, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class MergeConfig:
    """What to merge."""

    # Folders with episodes, and single episodes, in the order of the new numbers.
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional]
    # The folder that they are copied into.
    into: Path


def list_files(config: ListConfig, output: Output) -> int:
    """List the episodes of a folder.

    Raises:
        ConfigError: there is no such folder.
    """
    rows = [_describe(file) for file in _list(config.folder)]
    _tell_misnamed(config.folder, output)
    output.result({"folder": config.folder, "episodes": rows})
    if output.json:
        return 0
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("episode", "time", "messages", "size", "outcome", "instruction", "to look at"):
        table.add_column(name, justify="right" if name in ("time", "messages", "size") else "left")
    for row in rows:
        state = "" if row["state"] == "finished" else f" [yellow]{row['state']}[/yellow]"
        table.add_row(
            f"{row['number']}{state}",
            f"{row['duration_s']:.1f} s",
            str(row["messages"]),
            f"{row['size_bytes'] * 1e-6:.1f} MB",
            row["outcome"],
            escape(row["instruction"]),
            _short(row["findings"]),
        )
    output.console.print(table)
    seconds, size = sum(r["duration_s"] for r in rows), sum(r["size_bytes"] for r in rows)
    marked = sum(bool(r["findings"]) for r in rows)
    output.console.print(f"{len(rows)} episodes, {seconds:.0f} s, {size * 1e-6:.1f} MB; {marked} to look at")
    return 0


def show(config: ShowConfig, output: Output) -> int:
    """Show one episode.

    Raises:
        ConfigError: there is no such episode, or it is none.
    """
    from recording import Episode
    from recording.authority import read_authority
    from recording.quality import judge

    # All of it is read anyway; what is damaged is passed over and told.
    episode = Episode.open(config.episode, scan_all=True)
    report = judge(episode)
    metadata = episode.metadata
    authority = read_authority(episode)
    document: dict[str, Any] = {
        "path": config.episode,
        "complete": episode.is_complete,
        "damages": [str(damage) for damage in episode.damages],
        "info": dataclasses.asdict(metadata.info),
        "outcome": metadata.outcome,
        "reason": metadata.reason,
        "instruction": metadata.instruction,
        "notes": metadata.notes,
        "ended": None if metadata.end is None else dataclasses.asdict(metadata.end),
        "repaired": metadata.is_repaired,
        "attachments": {name: len(data) for name, data in episode.attachments.items()},
        "authority": None
        if authority is None
        else {
            "interventions": authority.interventions,
            "shares": authority.shares(metadata.info.start_ns + round(episode.duration_s * 1e9)),
        },
        "quality": report.to_document(),
        "types": {name: topic.type for name, topic in episode.topics.items()},
    }
    output.result(document)
    if not output.json:
        _print_episode(document, report, output)
    return 0


def verify_files(config: VerifyConfig, output: Output) -> int:
    """Look at every byte.

    Raises:
        ConfigError: no path was given, or a folder holds no episode.
    """
    from recording.repair import verify

    paths = _expand(config.paths, output)
    found = []
    with output.progress("verifying") as progress:
        for done, path in enumerate(paths):
            found.append(verify(path))
            progress(done + 1, len(paths))
    wrong = [v for v in found if not v.is_ok]
    output.result(
        {
            "ok": not wrong,
            "episodes": [{**dataclasses.asdict(v), "ok": v.is_ok} for v in found],
        }
    )
    if not output.json:
        for v in wrong:
            output.console.print(
                f"{v.path}: {'; '.join(v.findings)}", style="red", markup=False, soft_wrap=True
            )
        messages = sum(v.messages for v in found)
        output.console.print(f"{len(found)} files, {messages} messages; something is wrong with {len(wrong)}")
    return 1 if wrong else 0


def repair_files(config: RepairConfig, output: Output) -> int:
    """Repair what needs it.

    Raises:
        ConfigError: no path was given, a folder holds no episode, or a single file cannot be repaired.
    """
    from recording.folder import FileState, list_episodes
    from recording.repair import is_damaged, repair

    chosen = [path for path in config.paths if path.is_file()]
    for folder in config.paths:
        if folder.is_file():
            continue
        _expand((folder,), output)
        for file in list_episodes(folder):
            if file.state is FileState.HALF_WRITTEN:
                chosen.append(file.path)
            elif file.state is FileState.FINISHED and is_damaged(file.path):
                chosen.append(file.path)
    _require(config.paths)
    done = [repair(path, steady_clock=time.monotonic_ns) for path in chosen]
    output.result({"repaired": [dataclasses.asdict(one) for one in done]})
    if not output.json:
        for one in done:
            lost = f"; lost: {'; '.join(one.lost)}" if one.lost else ""
            output.console.print(
                f"{one.source.name} -> {one.path.name}: {one.messages} messages{lost}"
                if one.path is not None
                else f"{one.source.name} was empty and is gone",
                markup=False,
            )
        output.console.print(f"{len(done)} repaired")
    return 0


def delete(config: DeleteConfig, output: Output) -> int:
    """Delete episodes.

    Raises:
        ConfigError: a number is not there or is being recorded; nothing is deleted then.
    """
    from recording.folder import delete_episodes

    _list(config.folder)
    gone = delete_episodes(config.folder, config.numbers)
    output.result({"deleted": list(gone)})
    if not output.json:
        output.console.print(f"deleted: {', '.join(path.name for path in gone) or 'nothing'}", markup=False)
    return 0


def merge(config: MergeConfig, output: Output) -> int:
    """Merge folders.

    Raises:
        ConfigError: as `recording.folder.merge_folders`.
    """
    from recording.folder import merge_folders

    _require(config.sources)
    with output.progress("copying") as progress:
        merged = merge_folders(config.sources, config.into, progress=progress)
    output.result(
        {
            "copied": [{"source": source, "copy": copy} for source, copy in merged.copied],
            "known": list(merged.known),
        }
    )
    if not output.json:
        for source, copy in merged.copied:
            output.console.print(f"{source} -> {copy}", markup=False, soft_wrap=True)
        output.console.print(f"{len(merged.copied)} copied, {len(merged.known)} were there already")
    return 0


# --- helpers ---------------------------------------------------------------------------------


def _list(folder: Path) -> tuple[EpisodeFile, ...]:
    from hardware.errors import ConfigError
    from recording.folder import list_episodes

    if not folder.is_dir():
        raise ConfigError(
            f"there is no folder {str(folder)!r}",
            where="reflexarc data",
            expected="a folder with episodes",
            mend="correct the path, or record some (reflexarc record)",
        )
    return list_episodes(folder)


def _tell_misnamed(folder: Path, output: Output) -> None:
    from recording.folder import misnamed

    for path in misnamed(folder):
        output.log(f"{path}: left out, its name is no episode's (episode_000012.mcap); name the file itself")


def _expand(paths: tuple[Path, ...], output: Output) -> list[Path]:
    """Every episode of folders, and single files."""
    from hardware.errors import ConfigError
    from recording.folder import FileState

    _require(paths)
    found = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        _tell_misnamed(path, output)
        files = [file.path for file in _list(path) if file.state is not FileState.RECORDING]
        if not files:
            raise ConfigError(
                "there is no episode",
                where=str(path),
                expected="files of the recorder (episode_000012.mcap)",
                mend="correct the path",
            )
        found += files
    return found


def _require(paths: tuple[Path, ...]) -> None:
    from hardware.errors import ConfigError

    if not paths:
        raise ConfigError(
            "no path was given",
            where="reflexarc data",
            expected="folders or files with episodes",
            mend="name at least one",
        )


def _describe(file: EpisodeFile) -> dict[str, Any]:
    """One row of the list; a file that cannot be read has a finding."""
    from hardware.errors import ConfigError
    from recording import Episode

    row: dict[str, Any] = {"number": file.number, "path": file.path, "state": file.state.value}
    try:
        episode = Episode.open(file.path)
    except ConfigError as error:
        nothing = {"duration_s": 0.0, "messages": 0, "outcome": "", "instruction": ""}
        return {**row, **nothing, "size_bytes": file.size_bytes, "findings": [error.what]}
    metadata = episode.metadata
    findings = list((metadata.quality or {}).get("findings", ()))
    if not episode.message_count and "no message arrived" not in findings:
        findings.append("no message arrived")
    if metadata.is_repaired:
        findings.append("repaired")
    return {
        **row,
        "duration_s": episode.duration_s,
        "messages": episode.message_count,
        "size_bytes": file.size_bytes,
        "outcome": metadata.outcome.value,
        "instruction": metadata.instruction,
        "findings": findings,
    }


def _authority(found: dict[str, Any] | None) -> str:
    """Who commanded for how much of the time."""
    if found is None:
        return ""
    shares = ", ".join(f"{source} {share:.0%}" for source, share in found["shares"].items())
    return shares + (f"; taken over {found['interventions']} times" if found["interventions"] else "")


def _short(findings: list[str]) -> str:
    from rich.markup import escape

    if not findings:
        return ""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"[yellow]{escape(findings[0])}{more}[/yellow]"


def _print_episode(document: dict[str, Any], report: QualityReport, output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    from reflexarc.quality_table import figures, topics_table

    console, info = output.console, document["info"]
    console.print(f"[bold]{escape(str(document['path']))}[/bold]")
    words = {
        "robot": f"{info['robot']} in {info['namespace']}",
        "task": info["task"],
        "instruction": document["instruction"],
        "operator": info["operator"],
        "started": info["started_utc"],
        "ended": "never: half-written" if document["ended"] is None else document["ended"]["reason"],
        "outcome": document["outcome"].value + (f": {document['reason']}" if document["reason"] else ""),
        "notes": "; ".join(document["notes"]),
        "commanded": _authority(document["authority"]),
        "commit": info["git_commit"],
        "attachments": ", ".join(document["attachments"]),
        "damage": "; ".join(document["damages"]),
    }
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, word in words.items():
        if word:
            facts.add_row(name, escape(word))
    console.print(facts)
    quality = report.to_document()
    console.print(topics_table(quality))
    for part in figures(quality):
        console.print(part)
    for finding in report.findings:
        console.print(f"  to look at: {finding}", style="yellow", markup=False)
