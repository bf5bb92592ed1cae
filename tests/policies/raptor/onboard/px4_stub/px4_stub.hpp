/* SPDX-License-Identifier: Apache-2.0
 *
 * As much of PX4's interfaces as policies/raptor/onboard/px4 uses: names, fields and types as PX4 has them, one
 * latest message a topic, and a clock that the test sets.
 */
#pragma once

#include <cstdint>

using hrt_abstime = uint64_t;
extern hrt_abstime stub_now_us;
inline hrt_abstime hrt_absolute_time() { return stub_now_us; }

struct actuator_motors_s {
	static constexpr uint8_t NUM_CONTROLS = 12;
	uint64_t timestamp, timestamp_sample;
	uint16_t reversible_flags;
	float control[12];
};
struct trajectory_setpoint_s {
	uint64_t timestamp;
	float position[3], velocity[3], acceleration[3], jerk[3], yaw, yawspeed;
};
struct vehicle_angular_velocity_s { uint64_t timestamp, timestamp_sample; float xyz[3], xyz_derivative[3]; };
struct vehicle_attitude_s { uint64_t timestamp, timestamp_sample; float q[4]; };
struct vehicle_command_s {
	static constexpr uint32_t VEHICLE_CMD_NAV_LAND = 21;
	uint64_t timestamp;
	uint32_t command;
};
struct vehicle_control_mode_s {
	uint64_t timestamp;
	bool flag_armed, flag_control_offboard_enabled, flag_control_allocation_enabled;
};
struct vehicle_local_position_s {
	uint64_t timestamp, timestamp_sample;
	bool xy_valid, z_valid, v_xy_valid, v_z_valid;
	float x, y, z, vx, vy, vz;
};

template <typename T> struct stub_topic { T data{}; uint32_t generation{0}; };
struct orb_metadata { void *topic; };

#define STUB_TOPIC(name) extern stub_topic<name##_s> stub_##name;
STUB_TOPIC(actuator_motors)
STUB_TOPIC(trajectory_setpoint)
STUB_TOPIC(vehicle_angular_velocity)
STUB_TOPIC(vehicle_attitude)
STUB_TOPIC(vehicle_command)
STUB_TOPIC(vehicle_control_mode)
STUB_TOPIC(vehicle_local_position)
#define ORB_ID(name) (orb_metadata{&stub_##name})

namespace px4
{
struct wq_config_t { const char *name; };
namespace wq_configurations
{
inline constexpr wq_config_t rate_ctrl{"wq:rate_ctrl"};
}
class WorkItem
{
public:
	WorkItem(const char *name, const wq_config_t &) : _name(name) {}
	virtual ~WorkItem() = default;
	virtual void Run() = 0;
	const char *_name;
};
}

namespace uORB
{
class Subscription
{
public:
	explicit Subscription(orb_metadata meta) : _topic(meta.topic) {}
	template <typename T> bool update(T *to)
	{
		auto *topic = static_cast<stub_topic<T> *>(_topic);
		const bool is_new = topic->generation != _seen;
		_seen = topic->generation;

		if (is_new) { *to = topic->data; }

		return is_new;
	}
private:
	void *_topic;
	uint32_t _seen{0};
};
class SubscriptionCallbackWorkItem : public Subscription
{
public:
	SubscriptionCallbackWorkItem(px4::WorkItem *, orb_metadata meta) : Subscription(meta) {}
	bool registerCallback() { return true; }
};
template <typename T> class Publication
{
public:
	explicit Publication(orb_metadata meta) : _topic(static_cast<stub_topic<T> *>(meta.topic)) {}
	bool publish(const T &message)
	{
		_topic->data = message;
		_topic->generation++;
		return true;
	}
private:
	stub_topic<T> *_topic;
};
}
