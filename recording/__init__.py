"""Episodes as MCAP files: written so that a power cut costs a chunk, read, verified, repaired and judged."""

from recording.episode import Episode, Message, RawMessage, Topic
from recording.metadata import EpisodeInfo, EpisodeMetadata, Event, EventKind, Outcome
from recording.writer import EpisodeWriter, TopicSpec, WriterConfig

__all__ = [
    "Episode",
    "EpisodeInfo",
    "EpisodeMetadata",
    "EpisodeWriter",
    "Event",
    "EventKind",
    "Message",
    "Outcome",
    "RawMessage",
    "Topic",
    "TopicSpec",
    "WriterConfig",
]
