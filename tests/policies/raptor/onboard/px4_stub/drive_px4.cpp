/* SPDX-License-Identifier: Apache-2.0
 *
 * Flat functions through which a test drives policies/raptor/onboard/px4.
 */
#include "raptor_px4.hpp"

hrt_abstime stub_now_us;
#define STUB_DEFINE(name) stub_topic<name##_s> stub_##name;
STUB_DEFINE(actuator_motors)
STUB_DEFINE(trajectory_setpoint)
STUB_DEFINE(vehicle_angular_velocity)
STUB_DEFINE(vehicle_attitude)
STUB_DEFINE(vehicle_command)
STUB_DEFINE(vehicle_control_mode)
STUB_DEFINE(vehicle_local_position)

namespace
{
RaptorPx4 *module;

template <typename T> void put(stub_topic<T> &topic, const T &message)
{
	topic.data = message;
	topic.generation++;
}
}

extern "C" {
int px4_start(uint32_t gyro_rate_hz)
{
	stub_actuator_motors = {};
	stub_trajectory_setpoint = {};
	stub_vehicle_angular_velocity = {};
	stub_vehicle_attitude = {};
	stub_vehicle_command = {};
	stub_vehicle_control_mode = {};
	stub_vehicle_local_position = {};
	delete module;
	module = new RaptorPx4(gyro_rate_hz);
	return module->init() ? 1 : 0;
}

void px4_mode(int armed, int offboard, int allocation)
{
	vehicle_control_mode_s m{};
	m.flag_armed = armed != 0;
	m.flag_control_offboard_enabled = offboard != 0;
	m.flag_control_allocation_enabled = allocation != 0;
	put(stub_vehicle_control_mode, m);
}

void px4_attitude(uint64_t us, const float *q)
{
	vehicle_attitude_s m{};
	m.timestamp = m.timestamp_sample = us;

	for (int i = 0; i < 4; i++) { m.q[i] = q[i]; }

	put(stub_vehicle_attitude, m);
}

void px4_local_position(uint64_t us, const float *p, const float *v, int valid)
{
	vehicle_local_position_s m{};
	m.timestamp = m.timestamp_sample = us;
	m.xy_valid = m.z_valid = m.v_xy_valid = m.v_z_valid = valid != 0;
	m.x = p[0]; m.y = p[1]; m.z = p[2];
	m.vx = v[0]; m.vy = v[1]; m.vz = v[2];
	put(stub_vehicle_local_position, m);
}

void px4_setpoint(uint64_t us, const float *p, const float *v, float yaw)
{
	trajectory_setpoint_s m{};
	m.timestamp = us;

	for (int i = 0; i < 3; i++) { m.position[i] = p[i]; m.velocity[i] = v[i]; }

	m.yaw = yaw;
	put(stub_trajectory_setpoint, m);
}

/* One gyro sample; the number of motor messages published so far, and the last one. */
uint32_t px4_run(uint64_t us, const float *rates, float *motors)
{
	stub_now_us = us;
	vehicle_angular_velocity_s m{};
	m.timestamp = m.timestamp_sample = us;

	for (int i = 0; i < 3; i++) { m.xyz[i] = rates[i]; }

	put(stub_vehicle_angular_velocity, m);
	static_cast<px4::WorkItem *>(module)->Run();

	for (int i = 0; i < 12; i++) { motors[i] = stub_actuator_motors.data.control[i]; }

	return stub_actuator_motors.generation;
}

uint32_t px4_landings() { return stub_vehicle_command.generation; }
int px4_active() { return module->active() ? 1 : 0; }
uint32_t px4_stale() { return module->stale(); }
}
