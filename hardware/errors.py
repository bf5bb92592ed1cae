"""The one error that bad input raises: what was wrong, where, what was expected and how to mend it."""

from __future__ import annotations


class ConfigError(ValueError):
    """Bad input, explained. The command line prints it and exits with code 2; nothing moves.

    Args:
        what: what was wrong, with the offending value.
        where: the file, parameter or object that holds it.
        expected: what would have been right.
        mend: what to do about it.
    """

    def __init__(self, what: str, *, where: str, expected: str, mend: str) -> None:
        """Compose the message from its four parts."""
        self.what, self.where, self.expected, self.mend = what, where, expected, mend
        super().__init__(f"{where}: {what}. Expected {expected}. To mend: {mend}.")


class ConfigErrors(ConfigError):
    """Several findings about one input, reported together.

    Args:
        findings: the single errors, at least one.
        where: the input that they are about.
    """

    def __init__(self, findings: list[ConfigError], *, where: str) -> None:
        """Join the findings, one a line."""
        self.findings = tuple(findings)
        super().__init__(
            f"{len(findings)} finding(s)", where=where, expected="none", mend="see each line below"
        )
        self.args = ("\n".join([f"{where}: {len(findings)} finding(s)", *(f"  - {f}" for f in findings)]),)


class Refusal(ValueError):
    """A controller refuses to answer an observation: it is reported, and no command goes out for it."""
