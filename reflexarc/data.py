"""`reflexarc data`: what can be done with recorded episodes, by name."""

from __future__ import annotations

from collections.abc import Mapping

from reflexarc.commands import Command, Example

COMMANDS: Mapping[str, Command] = {
    "list": Command(
        summary="List the episodes of a folder, and mark those that deserve a look.",
        config="reflexarc.data_files:ListConfig",
        run="reflexarc.data_files:list_files",
        examples=(
            Example("reflexarc data list recordings", "number, time, size, outcome, findings"),
            Example("reflexarc data list recordings --json", "for machines"),
        ),
    ),
    "show": Command(
        summary="Show one episode: topics, outcome, notes, versions and its quality, judged anew.",
        config="reflexarc.data_files:ShowConfig",
        run="reflexarc.data_files:show",
        examples=(
            Example("reflexarc data show recordings/episode_000012.mcap", "everything about it"),
            Example("reflexarc data show recordings/episode_000012.mcap --json", "for machines"),
        ),
        details="Half-written files (*.mcap.part) are shown as far as they can be read.",
    ),
    "verify": Command(
        summary="Look at every byte of episodes: records, checksums, counts, definitions.",
        config="reflexarc.data_files:VerifyConfig",
        run="reflexarc.data_files:verify_files",
        examples=(
            Example("reflexarc data verify recordings", "all of a folder, half-written ones too"),
            Example("reflexarc data verify recordings/episode_000012.mcap", "one"),
        ),
        details="Exit code 1 when something is wrong with a file. It changes nothing.",
    ),
    "repair": Command(
        summary="Make readable episodes of half-written and damaged ones.",
        config="reflexarc.data_files:RepairConfig",
        run="reflexarc.data_files:repair_files",
        examples=(
            Example("reflexarc data repair recordings", "everything in a folder that needs it"),
            Example("reflexarc data repair recordings/episode_000012.mcap.part", "one"),
        ),
        details=(
            "All whole chunks are kept; a damaged file stays beside the new one as *.mcap.damaged.\n"
            "Episodes that are being recorded are left alone."
        ),
    ),
    "delete": Command(
        summary="Delete episodes for good.",
        config="reflexarc.data_files:DeleteConfig",
        run="reflexarc.data_files:delete",
        examples=(
            Example("reflexarc data delete recordings 3 17", "episodes 3 and 17, or neither"),
            Example("reflexarc data delete recordings 3 --json", "for machines"),
        ),
    ),
    "merge": Command(
        summary="Copy the episodes of several folders into one, numbered anew.",
        config="reflexarc.data_files:MergeConfig",
        run="reflexarc.data_files:merge",
        examples=(
            Example("reflexarc data merge monday tuesday --into week", "tuesday's follow monday's"),
            Example("reflexarc data merge other/episode_000004.mcap --into week", "one more"),
        ),
        details="What is there already is not copied again. Sources stay as they are.",
    ),
    "export": Command(
        summary="Export recordings to a LeRobot dataset (v3), or one of them to Rerun.",
        config="reflexarc.datasets:ExportConfig",
        run="reflexarc.datasets:export",
        examples=(
            Example(
                "reflexarc data export recordings --out datasets/cubes --fps 25", "all terms of the card"
            ),
            Example(
                "reflexarc data export recordings --out datasets/cubes --fps 25 --cameras front wrist"
                " --terms joint_position",
                "what a policy sees that looks through cameras",
            ),
            Example(
                "reflexarc data export recordings/episode_000012.mcap --rerun --out twelve.rrd",
                "one episode for the Rerun viewer",
            ),
        ),
        details=(
            "At each moment the newest values that were captured until then, never later ones; moments at\n"
            "which a stream had stopped are dropped. `action` is what the gate let through. The same\n"
            "recordings give the same tables, byte for byte. Recordings of another robot, numbers that are\n"
            "not finite and episodes of length zero are refused; see --skip-faulty."
        ),
    ),
    "import": Command(
        summary="Import a LeRobot dataset (v3) as recordings, one file an episode.",
        config="reflexarc.datasets:ImportConfig",
        run="reflexarc.datasets:import_episodes",
        examples=(
            Example("reflexarc data import datasets/cubes recordings", "a dataset that we exported"),
            Example(
                "reflexarc data import datasets/waves recordings --robot so101_twin --state joint_position",
                "one of somebody else's, by saying which robot's terms its vector holds",
            ),
            Example("reflexarc data import datasets/cubes recordings --json", "for machines"),
        ),
        details=(
            "Every file is read again and compared with the dataset. What the dataset does not know (when\n"
            "values arrived, what was asked for, topics that were not exported) is not made up. Exporting\n"
            "the recordings at the dataset's rate gives its tables again. A dataset of a robot with another\n"
            "card is refused with every difference; then nothing is written."
        ),
    ),
    "layout": Command(
        summary="Write a Foxglove layout that shows a recording, or any recording of a robot.",
        config="reflexarc.datasets:LayoutConfig",
        run="reflexarc.datasets:write_layout",
        examples=(
            Example("reflexarc data layout recordings/episode_000012.mcap twelve.json", "what is in it"),
            Example("reflexarc data layout quadrotor_twin quadrotor.json", "what a robot's card promises"),
        ),
        details=(
            "The robot and its surroundings in 3D, its cameras, what was sent and asked for beside what was\n"
            "measured (a plot each side of a robot with two arms), and health."
        ),
    ),
    "crash-test": Command(
        summary="Kill the recorder at random moments, and count what is left.",
        config="reflexarc.crash_test:CrashTest",
        run="reflexarc.crash_test:run",
        examples=(
            Example("reflexarc data crash-test --kills 20", "recorder_node, over ROS 2; a minute and a half"),
            Example(
                "reflexarc data crash-test --kills 200 --json --out crash.json", "for machines, and kept"
            ),
            Example("reflexarc data crash-test --target writer --kills 50", "without ROS, faster"),
        ),
        details=(
            "Every finished episode has to be readable and whole; at most the open chunk may be lost.\n"
            "Exit code 1 when more is."
        ),
    ),
}
