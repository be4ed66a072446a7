"""Does this Python have what ``pyproject.toml`` asks for? ``run_all.sh`` asks before it uses an active environment.

Run as a script by whatever Python is active, so it stands alone: the standard library, and ``packaging``, without which
jupyterlab cannot be installed either. Prints what is missing in one line and exits with status 1, or is silent. With
``--platform`` the question is whether there can be such an environment on this machine at all.
"""

from __future__ import annotations  # an active Python too old for us should be able to say so

import platform
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

# What torch is published for and bash runs on: system and processor, as Python names them.
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}


def needed(project: dict, extra: str = "all") -> list[str]:
    """The requirements of a ``[project]`` table, with those of an extra: its own, or of the extras that it names."""
    from packaging.requirements import Requirement

    extras, lines = project["optional-dependencies"], []
    for line in extras[extra]:
        requirement = Requirement(line)
        ours = requirement.name == project["name"]
        lines += [each for name in sorted(requirement.extras) for each in extras[name]] if ours else [line]
    return [*project["dependencies"], *lines]


def missing(lines: list[str]) -> list[str]:
    """Those of the requirement ``lines`` that this environment does not meet, with the version it has instead."""
    from packaging.requirements import Requirement

    problems = []
    for requirement in map(Requirement, lines):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(wanted)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{wanted} (it has {version})")
    return problems


def platform_problem(system: str, processor: str, library: str) -> str | None:
    """Why pip will find no torch for a machine, or None; ``library``: Python's SOABI, which tells musl from glibc."""
    if (system, processor) in PLATFORMS and "musl" not in library:
        return None
    name = "an Intel Mac" if (system, processor) == ("Darwin", "x86_64") else f"{system} on {processor}"
    return (
        f"PyTorch publishes no package for {name}{' with musl' if 'musl' in library else ''}, so pip cannot make an "
        "environment here. It does for Linux (WSL, too) with glibc on x86-64 and arm64, and for Macs of Apple silicon "
        "with a Python built for it. An active environment that has torch all the same is used"
    )


def main(pyproject: Path, extra: str = "all") -> int:
    """Check the environment against ``pyproject`` with an extra; the exit status is 0 if it satisfies, 1 if not."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever Python is active; tomllib is new in 3.11
        print("Python 3.11 or newer")
        return 1
    import tomllib

    try:
        lines = needed(tomllib.loads(pyproject.read_text())["project"], extra)
    except ImportError:
        print("packaging, and so jupyterlab")
        return 1
    problems = missing(lines)
    if problems:
        print(", ".join(problems[:3]) + (f" and {len(problems) - 3} more" if len(problems) > 3 else ""))
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1] == "--platform":
        problem = platform_problem(platform.system(), platform.machine(), str(sysconfig.get_config_var("SOABI")))
        print(problem or "", end="")
        sys.exit(1 if problem else 0)
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
