"""Gymnasium environments `reflexarc/<Name>-v0`; importing this package registers them."""

import gymnasium

gymnasium.register(id="reflexarc/PickCube-v0", entry_point="sim.tasks.pick_cube:PickCubeEnv")
gymnasium.register(id="reflexarc/PushT-v0", entry_point="sim.tasks.push_t:PushTEnv")
gymnasium.register(id="reflexarc/PegInsert-v0", entry_point="sim.tasks.peg_insert:PegInsertEnv")
gymnasium.register(
    id="reflexarc/Quadrotor-v0",
    entry_point="sim.tasks.quadrotor:QuadrotorEnv",
    vector_entry_point="sim.tasks.quadrotor:QuadrotorVectorEnv",
)
