"""The programs of others that tests and measurements run beside ours: what is there, what is not.

Invariant: a missing one is named with its Debian package and never an exception. Packages are
installed only where the caller asked for it, as root, by apt-get.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable

# Debian installs Orthanc among the superuser's programs, which is not on everyone's path.
_MORE_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin")
INSTALL_TIMEOUT_S = 600.0


def find(program: str) -> str | None:
    """Where a program is; None when it is not installed."""
    places = (None, *_MORE_DIRECTORIES)
    return next((path for place in places if (path := shutil.which(program, path=place))), None)


def missing(packages_by_program: dict[str, str]) -> tuple[str, ...]:
    """The packages, in order, of programs that are not installed."""
    return tuple(sorted({p for name, p in packages_by_program.items() if find(name) is None}))


def install_line(packages: Iterable[str]) -> str:
    """What a person types."""
    return f"apt-get install {' '.join(packages)}"


def can_install() -> bool:
    """Whether this process may install packages: root, where apt-get is."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Iterable[str], tell: Callable[[str], None]) -> None:
    """Tries to install Debian packages; the caller looks again at what is there then."""
    names = tuple(packages)
    tell(f"installing {', '.join(names)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "install", "-y", *names]):
        try:
            subprocess.run(
                command,
                env=environment,
                stdout=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                timeout=INSTALL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            tell(f"{' '.join(command)}: not done in {INSTALL_TIMEOUT_S:.0f} s")
