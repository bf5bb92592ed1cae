"""What decides a training run of RAPTOR's student."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from hardware.errors import ConfigError
from policies.raptor.training.flight import FlightRules
from policies.raptor.training.scenarios import ScenarioRules
from sim.quadrotor.perturbations import Perturbations


@dataclass(frozen=True)
class RaptorTrainConfig:
    """Everything that decides what a training run gives.

    Two stages, either of which can be left out: imitation of teachers (`teachers`, `epochs`), then tuning
    through the simulator (`updates`). Defaults of the imitation: the published run's, but for what the
    small recipe lessens (`epochs`, `episodes`) and what RAPTOR's paper and flying ask for (starts,
    delays, noise).
    """

    # The policy folder to write. While the training lasts it also holds the checkpoint.
    out: str
    # Folder of a bank of teachers; empty: no imitation.
    teachers: str = ""
    # Policy folder whose weights the training starts from; empty: random weights.
    finetune_from: str = ""
    # The policy's name on its card.
    name: str = "raptor-reflexarc"
    # Makes the run repeatable: weights, episodes, airframes, noise.
    seed: int = 0
    # Where the network is: cpu, cuda or cuda:N. Imitation simulates on the CPU in any case.
    device: str = "cpu"
    # Threads of Torch. NumPy's own follow OPENBLAS_NUM_THREADS.
    threads: int = 1
    # Stop after so many minutes with everything saved; the same command goes on. 0: until all is done.
    max_minutes: float = 0.0
    # Length of the hidden state.
    hidden_size: int = 16
    # Width of the dense layer in front of it.
    encoder_size: int = 16
    # Largest position error that the policy gets to see, per axis, metres. It goes on the policy's card, and
    # whoever flies it clips likewise.
    clip_position_m: float = 0.5
    # The same for the velocity error, m/s.
    clip_velocity_m_s: float = 1.0
    # The oldest data, from capture to motor, with which the policy is meant to fly, seconds. It goes on the
    # card, which then refuses slower robots; look at the crash rate with late actions before raising it.
    max_loop_age_s: float = 0.005
    # Disturbances of both stages, drawn anew for every vehicle: largest delay from action to motors, seconds.
    action_delay_s: float = 0.02
    # Largest age of the velocity that the policy sees, seconds.
    velocity_delay_s: float = 0.03
    # Largest standard deviation of the noise on position, metres; every vehicle has a random share of it.
    position_noise_m: float = 0.01
    # The same on orientation, radians.
    orientation_noise_rad: float = 0.01
    # The same on velocity, m/s.
    velocity_noise_m_s: float = 0.05
    # The same on body rates, rad/s.
    rate_noise_rad_s: float = 0.1
    # Largest deviation of a rotor's thrust from its airframe's, a share.
    motor_mismatch: float = 0.05
    # Deviation of the constant force of an episode, as a multiple of what the sampler drew for the airframe.
    # The published run had 1. In the tuning 30 % of the vehicles have it, and 20 % gusts of that strength.
    force_scale: float = 1.0
    # Imitation: largest mean speed of the wind, in a random horizontal direction, m/s.
    wind_m_s: float = 3.0
    # Imitation: largest deviation of its gusts, per axis, m/s.
    gust_m_s: float = 1.0
    # Imitation: largest drag by which the air moves a vehicle, acceleration per relative speed, 1/s.
    drag_per_s: float = 0.2
    # Largest tilt at the start of an episode: the paper's 90 degrees. The published run had 1 rad.
    tilt_rad: float = math.pi / 2.0

    # Imitation: epochs. In each, all vehicles fly one episode, which is learned from once.
    epochs: int = 250
    # The first epochs, in which teachers fly and the student only learns from them.
    teacher_epochs: int = 10
    # Episodes of every teacher in an epoch.
    episodes: int = 32
    # Steps of an episode, and of a row of training data, which several episodes may share.
    episode_steps: int = 500
    # Rows in one gradient step; published: 64.
    rows: int = 16
    # Learning rate of the imitation; published: 1e-4. With 16 teachers an epoch has few gradient steps.
    imitation_rate: float = 2e-3
    # Learning rate at its end, reached along a cosine; published: constant.
    imitation_end_rate: float = 1e-4
    # Episodes of every teacher by which its steady-state error is measured; 0: no correction of it.
    correction_episodes: int = 100
    # Mean return that every teacher must reach.
    minimum_return: float = 300.0

    # Tuning: updates through the simulator, each with fresh random airframes. 0: none.
    updates: int = 0
    # Vehicles in an update.
    vehicles: int = 128
    # Control steps of 10 ms that each of them flies.
    steps: int = 250
    # Vehicles in an update whose policy is asked at 400 Hz, as RAPTOR's executor does it on a flight
    # controller: the hidden state advances at 100 Hz, in between the network works on a copy.
    executor_vehicles: int = 64
    # Native steps of 10 ms that each of these flies.
    executor_steps: int = 100
    # Learning rate of the tuning.
    tuning_rate: float = 2e-3
    # Learning rate at its end, reached along a cosine.
    tuning_end_rate: float = 1e-4
    # Share of vehicles that turn slowly, torque to inertia below 110 1/s^2, beyond those drawn by chance.
    slow: float = 0.2
    # Share of small vehicles that yaw violently.
    yawing: float = 0.1
    # Share of vehicles beyond the distribution that policies are judged by.
    wide: float = 0.1
    # Weight of the velocity error in the cost, against the position error.
    velocity_cost: float = 0.1
    # Weight of heading and tilt.
    attitude_cost: float = 0.3
    # Weight of the rate of rotation.
    rotation_cost: float = 0.002
    # Weight of the action's change from step to step.
    change_cost: float = 0.05
    # Position error at which its cost turns from square to logarithmic, metres.
    position_scale_m: float = 0.1
    # The same for the velocity error, m/s.
    velocity_scale_m_s: float = 0.5
    # Factor on the influence of a state on the next one in the derivative alone.
    gradient_decay: float = 0.997
    # Largest cotangent of a vehicle's state, in units of the cost of one step.
    gradient_cap: float = 100.0
    # Largest norm of the whole gradient.
    gradient_norm: float = 0.5

    # Airframes by which weights are judged, none of which is trained on.
    judged_airframes: int = 256
    # Epochs between two judgements.
    judge_epochs: int = 10
    # Updates between two judgements; pieces of a training end there.
    judge_updates: int = 100

    def __post_init__(self) -> None:
        """Refuse numbers with which no training can run.

        Raises:
            ConfigError: a number is out of range, or nothing is to be done.
        """
        positive = (
            *("threads", "hidden_size", "encoder_size", "clip_position_m", "clip_velocity_m_s", "episodes"),
            *(
                "episode_steps",
                "rows",
                "imitation_rate",
                "vehicles",
                "steps",
                "executor_steps",
                "tuning_rate",
            ),
            *("position_scale_m", "velocity_scale_m_s", "gradient_decay", "gradient_cap", "gradient_norm"),
            *("judged_airframes", "judge_epochs", "judge_updates"),
        )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in positive and not value > 0:
                raise _wrong(field.name, value, "a positive number")
            if isinstance(value, int | float) and not (field.name == "minimum_return" or value >= 0):
                raise _wrong(field.name, value, "zero or a positive number")
        if not 0.0 < self.gradient_decay <= 1.0:
            raise _wrong("gradient_decay", self.gradient_decay, "a number up to 1")
        if self.encoder_size % 4 or self.hidden_size % 4:
            raise _wrong("hidden_size", self.hidden_size, "hidden_size and encoder_size divisible by 4")
        if not ((self.teachers and self.epochs) or self.updates):
            raise ConfigError(
                "neither imitation nor tuning",
                where="RAPTOR training",
                expected="a bank of teachers, or updates through the simulator",
                mend="give --teachers DIR (see reflexarc train raptor-teachers), or --updates N",
            )
        self.scenarios()

    @property
    def imitates(self) -> bool:
        """Whether there is a stage of imitation."""
        return bool(self.teachers) and self.epochs > 0

    def perturbations(self) -> Perturbations:
        """The disturbances of the imitation's episodes."""
        return Perturbations(
            action_delay_s=(0.0, self.action_delay_s),
            velocity_delay_s=(0.0, self.velocity_delay_s),
            position_noise_m=(0.0, self.position_noise_m),
            orientation_noise_rad=(0.0, self.orientation_noise_rad),
            velocity_noise_m_s=(0.0, self.velocity_noise_m_s),
            angular_velocity_noise_rad_s=(0.0, self.rate_noise_rad_s),
            motor_mismatch=(0.0, self.motor_mismatch),
            wind_m_s=(0.0, self.wind_m_s),
            gust_m_s=(0.0, self.gust_m_s),
            drag_per_s=(0.0, self.drag_per_s),
            force_scale=self.force_scale,
        )

    def scenarios(self) -> ScenarioRules:
        """What the vehicles of the tuning meet."""
        return ScenarioRules(
            slow=self.slow,
            yawing=self.yawing,
            wide=self.wide,
            tilt_rad=self.tilt_rad,
            action_delay_s=(0.0, self.action_delay_s),
            velocity_delay_s=(0.0, self.velocity_delay_s),
            position_noise_m=self.position_noise_m,
            rotation_noise=self.orientation_noise_rad,
            velocity_noise_m_s=self.velocity_noise_m_s,
            rate_noise_rad_s=self.rate_noise_rad_s,
            motor_mismatch=self.motor_mismatch,
            force_scale=self.force_scale,
        )

    def flight(self, native: int = 1) -> FlightRules:
        """How the tuning differentiates.

        Args:
            native: control steps in a native step; the gradient decays as much in a second whatever it is.
        """
        return FlightRules(
            clip_position_m=self.clip_position_m,
            clip_velocity_m_s=self.clip_velocity_m_s,
            decay=self.gradient_decay ** (1.0 / native),
            cap=self.gradient_cap,
        )


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} is {value!r}", where="RAPTOR training", expected=expected, mend=f"correct {name}"
    )
