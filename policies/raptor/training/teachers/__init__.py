"""Teachers of RAPTOR: one privileged policy for every airframe, trained by SAC all at once."""

from policies.raptor.training.teachers.bank import ACCEPTED_RETURN, TeacherBank, TeacherRecord

__all__ = ["ACCEPTED_RETURN", "TeacherBank", "TeacherRecord"]
