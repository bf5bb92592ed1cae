/* SPDX-License-Identifier: Apache-2.0
 *
 * See raptor_px4.hpp.
 */
#include "raptor_px4.hpp"

#include <math.h>
#include <string.h>

/* PX4's quadrotor X: front right and back left turn counter-clockwise. Positions in our frame, forward and left. */
static const raptor_motor MOTORS[RAPTOR_ACTION_SIZE] = {
	{1.f, -1.f, -1.f}, {-1.f, 1.f, -1.f}, {1.f, 1.f, 1.f}, {-1.f, -1.f, 1.f}
};

RaptorPx4::RaptorPx4(uint32_t gyro_rate_hz) :
	px4::WorkItem("raptor", px4::wq_configurations::rate_ctrl),
	_every(gyro_rate_hz > RAPTOR_RATE_HZ ? (gyro_rate_hz + RAPTOR_RATE_HZ - 1) / RAPTOR_RATE_HZ : 1)
{
	_config = raptor_config_by_time(1000000000u / gyro_rate_hz * _every);
	raptor_reset(&_policy);
	raptor_freshness_reset(&_freshness);
}

bool RaptorPx4::init()
{
	return raptor_self_test() <= RAPTOR_TOLERANCE && raptor_motor_order_ok(MOTORS, RAPTOR_ORDER_PX4)
	       && _angular_velocity_sub.registerCallback();
}

void RaptorPx4::read_inputs()
{
	vehicle_attitude_s attitude;

	if (_attitude_sub.update(&attitude)) {
		memcpy(_vehicle.orientation, attitude.q, sizeof(_vehicle.orientation));
		raptor_freshness_mark(&_freshness, RAPTOR_ORIENTATION, 1000u * attitude.timestamp_sample);
	}

	vehicle_local_position_s local;

	if (_local_position_sub.update(&local) && local.xy_valid && local.z_valid && local.v_xy_valid && local.v_z_valid) {
		_vehicle.position[0] = local.x;
		_vehicle.position[1] = local.y;
		_vehicle.position[2] = local.z;
		_vehicle.linear_velocity[0] = local.vx;
		_vehicle.linear_velocity[1] = local.vy;
		_vehicle.linear_velocity[2] = local.vz;
		raptor_freshness_mark(&_freshness, RAPTOR_POSITION, 1000u * local.timestamp_sample);
	}

	trajectory_setpoint_s setpoint;

	if (_trajectory_setpoint_sub.update(&setpoint)) {
		/* PX4 writes NaN where nothing is asked for; RAPTOR needs all of it. */
		if (raptor_all_finite(setpoint.position, 3) && raptor_all_finite(setpoint.velocity, 3)
		    && raptor_all_finite(&setpoint.yaw, 1)) {
			memcpy(_reference.position, setpoint.position, sizeof(_reference.position));
			memcpy(_reference.linear_velocity, setpoint.velocity, sizeof(_reference.linear_velocity));
			_reference.yaw = setpoint.yaw;
			_holding = false;
			raptor_freshness_mark(&_freshness, RAPTOR_REFERENCE, 1000u * setpoint.timestamp);
		}
	}

	_control_mode_sub.update(&_control_mode);
}

bool RaptorPx4::wanted() const
{
	return _control_mode.flag_armed && _control_mode.flag_control_offboard_enabled
	       && !_control_mode.flag_control_allocation_enabled;
}

void RaptorPx4::hold_when_stale(uint64_t now_ns)
{
	const uint32_t reference = 1u << RAPTOR_REFERENCE;

	if (_active && (raptor_stale(&_freshness, now_ns) & reference) != 0 && !_holding) {
		memcpy(_reference.position, _vehicle.position, sizeof(_reference.position));
		memset(_reference.linear_velocity, 0, sizeof(_reference.linear_velocity));
		_holding = true;
	}
}

/* Only a flight that was under way is handed over; before that, PX4 has the vehicle anyway. */
void RaptorPx4::hand_over()
{
	if (_active) {
		vehicle_command_s command{};
		command.command = vehicle_command_s::VEHICLE_CMD_NAV_LAND;
		command.timestamp = hrt_absolute_time();
		_vehicle_command_pub.publish(command);
	}

	_active = false;
}

void RaptorPx4::Run()
{
	vehicle_angular_velocity_s rates;

	if (!_angular_velocity_sub.update(&rates)) {
		return;
	}

	memcpy(_vehicle.angular_velocity, rates.xyz, sizeof(_vehicle.angular_velocity));
	raptor_freshness_mark(&_freshness, RAPTOR_ANGULAR_VELOCITY, 1000u * rates.timestamp_sample);
	read_inputs();

	if (!wanted()) {
		_active = false;
		return;
	}

	const uint64_t now_ns = 1000u * hrt_absolute_time();
	hold_when_stale(now_ns);
	/* A reference that is held is never stale. */
	_stale = raptor_stale(&_freshness, now_ns) & ~(_holding ? 1u << RAPTOR_REFERENCE : 0u);

	if (_stale != 0) {
		hand_over();
		return;
	}

	if (_active && ++_samples < _every) {
		return;
	}

	_samples = 0;

	if (!_active) {
		raptor_reset(&_policy);
		memset(_action, 0, sizeof(_action));
	}

	raptor_vehicle vehicle = _vehicle;
	raptor_reference reference = _reference;
	float observation[RAPTOR_OBSERVATION_SIZE];
	raptor_vehicle_from_ned(&vehicle);
	raptor_reference_from_ned(&reference);
	_status = raptor_observe(&vehicle, &reference, observation);

	if (_status == RAPTOR_OK) {
		_status = raptor_control(&_policy, &_config, 1000u * rates.timestamp_sample, observation, _action, _action);
	}

	if (_status < RAPTOR_OK) {
		hand_over();
		return;
	}

	_active = true;
	publish(rates.timestamp_sample);
}

void RaptorPx4::publish(hrt_abstime sampled)
{
	actuator_motors_s motors{};
	float ordered[RAPTOR_ACTION_SIZE];
	raptor_remap(_action, RAPTOR_ORDER_PX4, ordered);

	for (int i = 0; i < actuator_motors_s::NUM_CONTROLS; i++) {
		motors.control[i] = i < RAPTOR_ACTION_SIZE ? raptor_effort(ordered[i]) : NAN;
	}

	motors.timestamp_sample = sampled;
	motors.timestamp = hrt_absolute_time();
	_actuator_motors_pub.publish(motors);
}
