"""Gymnasium environments `reflexarc/<Name>-v0`; importing this package registers them."""

import gymnasium

gymnasium.register(id="reflexarc/PickCube-v0", entry_point="sim.tasks.pick_cube:PickCubeEnv")
gymnasium.register(id="reflexarc/PairPickCube-v0", entry_point="sim.tasks.pair_pick_cube:PairPickCubeEnv")
gymnasium.register(id="reflexarc/TwoHandReach-v0", entry_point="sim.tasks.two_hand_reach:TwoHandReachEnv")
gymnasium.register(id="reflexarc/PushT-v0", entry_point="sim.tasks.push_t:PushTEnv")
gymnasium.register(id="reflexarc/PegInsert-v0", entry_point="sim.tasks.peg_insert:PegInsertEnv")
gymnasium.register(
    id="reflexarc/Quadrotor-v0",
    entry_point="sim.tasks.quadrotor:QuadrotorEnv",
    vector_entry_point="sim.tasks.quadrotor:QuadrotorVectorEnv",
)
# Tasks of others, under our names; they need the extra `peers`.
gymnasium.register(id="reflexarc/GymPushT-v0", entry_point="sim.tasks.peers:GymPushTEnv")
gymnasium.register(
    id="reflexarc/GymAlohaTransferCube-v0",
    entry_point="sim.tasks.peers:GymAlohaEnv",
    kwargs={"task": "transfer_cube"},
)
gymnasium.register(
    id="reflexarc/GymAlohaInsertion-v0",
    entry_point="sim.tasks.peers:GymAlohaEnv",
    kwargs={"task": "insertion"},
)
