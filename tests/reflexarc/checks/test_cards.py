"""Protects the verdicts on robot cards, policy folders and their bindings."""

import dataclasses

from policies.registry import METHODS
from reflexarc.checks import cards
from reflexarc.checks.finding import Level


def test_card_with_an_unknown_joint_unit_and_kind_lists_each(robots, edit):
    def spoil(card):
        card["observations"]["position"]["unit"] = "inch"
        card["commands"]["motors"]["safe_action"] = "panic"
        card["kindd"] = "quadrotor"

    edit(robots / "quadrotor_twin.yaml", spoil)
    good, findings = cards.load_robots(robots)
    assert good == []
    text = "\n".join(f.sentence for f in findings)
    assert "unknown unit 'inch'" in text
    assert "'panic' is not valid here; expected one of hold" in text
    assert "unknown field 'kindd'" in text
    assert all(f.level is Level.FAIL and f.mend for f in findings)


def test_card_that_is_not_yaml_and_empty_folders(robots, tmp_path, only):
    (robots / "quadrotor_twin.yaml").write_text("a: [1")
    assert "not YAML" in only(cards.load_robots(robots)[1], Level.FAIL).sentence
    assert "There is no card in" in only(cards.load_robots(tmp_path / "none")[1], Level.FAIL).sentence
    assert "no policy folder below" in only(cards.load_policies(tmp_path / "none")[1], Level.FAIL).sentence


def test_policy_without_its_weights_and_of_an_unknown_method(policy_root, only, edit):
    folder = policy_root / "raptor" / "published"
    edit(folder / "card.yaml", lambda card: card.update(method="telepathy"))
    found = only(cards.load_policies(policy_root)[1], Level.FAIL)
    assert found.sentence == f"Nobody here can run its method 'telepathy'; known are {', '.join(METHODS)}."
    (folder / "model.onnx").unlink()
    found = only(cards.load_policies(policy_root)[1], Level.FAIL)
    assert "the weights file 'model.onnx' is missing" in found.sentence
    assert found.mend == "fetch the policy folder whole"


def test_bindings_weigh_a_misfit_by_whether_the_policy_fits_another_robot(robots, policy_root, only):
    (robot,), _ = cards.load_robots(robots)
    (policy,), _ = cards.load_policies(policy_root)
    robot = dataclasses.replace(robot, parameters={})
    assert only(cards.check_bindings([policy], [robot]), Level.OK).sentence.startswith(
        "Fits, through 'motors'"
    )

    slow = dataclasses.replace(
        robot,
        name="slow",
        latency=dataclasses.replace(
            robot.latency, observation=dataclasses.replace(robot.latency.observation, mean_s=0.5)
        ),
    )
    found = only(cards.check_bindings([policy], [robot, slow]), Level.WARN)
    assert found.subject == "raptor-published on slow"
    assert "ms old at the motor" in found.sentence

    blind = dataclasses.replace(
        robot, name="blind", observations={k: v for k, v in robot.observations.items() if k != "position"}
    )
    findings = cards.check_bindings([policy], [robot, blind])
    assert {f.level for f in findings} == {Level.OK}
    assert any("the robot does not measure 'position'" in f.sentence for f in findings)
    assert (
        "the robot does not measure 'position'"
        in only(cards.check_bindings([policy], [blind]), Level.FAIL).sentence
    )

    arm = dataclasses.replace(robot, kind="arm")
    found = only(cards.check_bindings([policy], [arm]), Level.WARN)
    assert found.sentence == "There is no quadrotor among the robot cards: the policy cannot run."


def test_an_airframe_unlike_those_of_the_training_is_warned_of_with_numbers(robots, policy_root, only):
    (robot,), _ = cards.load_robots(robots)
    (policy,), _ = cards.load_policies(policy_root)

    def flown_on(name):
        return cards.check_bindings([policy], [dataclasses.replace(robot, parameters={"airframe": name})])

    assert {f.level for f in flown_on("mrs")} == {Level.OK}
    found = only(flown_on("flightmare"), Level.WARN)
    assert found.sentence == (
        "The airframe 'flightmare' is outside of RAPTOR's training distribution: thrust-to-weight ratio 12.1,"
        " trained 1.5 to 5; rising time constant of the motors 0.02 s, trained 0.03 to 0.1 s; falling time"
        " constant of the motors 0.02 s, trained 0.03 to 0.3 s."
    )
    assert found.mend.endswith("reflexarc eval quadrotor --airframe flightmare")
    assert "there is no airframe 'brick'" in only(flown_on("brick"), Level.FAIL).sentence
