/* SPDX-License-Identifier: Apache-2.0
 *
 * RAPTOR as a PX4 module of our own, on the C99 export. Not run on hardware here: compiled and driven against PX4's
 * interfaces in a test. PX4 brings a RAPTOR module itself (mc_raptor); `reflexarc export px4` writes the file that
 * it loads. This one is for firmware without it, or too small for it.
 *
 * It flies while PX4 is armed, in Offboard, and told that actuators are commanded directly (OffboardControlMode with
 * direct_actuator alone): PX4's own controllers and its allocation then leave the motors alone, and its failsafe
 * acts when that stream ends. References come on trajectory_setpoint; once they are stale, the place of that moment is
 * held. Once anything else is, the module asks PX4 to land, which takes the motors back to PX4's own controllers.
 */
#pragma once

#include <drivers/drv_hrt.h>
#include <px4_platform_common/px4_work_queue/WorkItem.hpp>
#include <uORB/Publication.hpp>
#include <uORB/Subscription.hpp>
#include <uORB/SubscriptionCallback.hpp>
#include <uORB/topics/actuator_motors.h>
#include <uORB/topics/trajectory_setpoint.h>
#include <uORB/topics/vehicle_angular_velocity.h>
#include <uORB/topics/vehicle_attitude.h>
#include <uORB/topics/vehicle_command.h>
#include <uORB/topics/vehicle_control_mode.h>
#include <uORB/topics/vehicle_local_position.h>

#include "raptor_policy.h"

class RaptorPx4 : public px4::WorkItem
{
public:
	explicit RaptorPx4(uint32_t gyro_rate_hz);

	/* Proves the policy and the motor order on this processor, and starts. False: it must not fly. */
	bool init();

	bool active() const { return _active; }
	/* Inputs that were stale when it last wanted to fly: a mask of 1u << raptor_source. */
	uint32_t stale() const { return _stale; }
	raptor_status status() const { return _status; }

private:
	void Run() override;
	void read_inputs();
	bool wanted() const;
	void hold_when_stale(uint64_t now_ns);
	void hand_over();
	void publish(hrt_abstime sampled);

	uORB::SubscriptionCallbackWorkItem _angular_velocity_sub{this, ORB_ID(vehicle_angular_velocity)};
	uORB::Subscription _attitude_sub{ORB_ID(vehicle_attitude)};
	uORB::Subscription _control_mode_sub{ORB_ID(vehicle_control_mode)};
	uORB::Subscription _local_position_sub{ORB_ID(vehicle_local_position)};
	uORB::Subscription _trajectory_setpoint_sub{ORB_ID(trajectory_setpoint)};
	uORB::Publication<actuator_motors_s> _actuator_motors_pub{ORB_ID(actuator_motors)};
	uORB::Publication<vehicle_command_s> _vehicle_command_pub{ORB_ID(vehicle_command)};

	raptor_config _config{};
	raptor_state _policy{};
	raptor_freshness _freshness{};
	/* North-east-down and forward-right-down, as PX4 measures. */
	raptor_vehicle _vehicle{};
	raptor_reference _reference{};
	float _action[RAPTOR_ACTION_SIZE] {};
	vehicle_control_mode_s _control_mode{};
	raptor_status _status{RAPTOR_OK};
	uint32_t _stale{0};
	/* Gyro samples to an evaluation, and since the last one. */
	uint32_t _every{1};
	uint32_t _samples{0};
	bool _active{false};
	bool _holding{false};
};
