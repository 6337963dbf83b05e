"""The Java test class that is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import suite
from domains.unit_tests.data.java_files import WRITTEN_BY, JavaFile

_IMPORTS = {
    4: ("import static org.junit.Assert.*;", "import org.junit.Test;"),
    5: ("import static org.junit.jupiter.api.Assertions.*;", "import org.junit.jupiter.api.Test;"),
}


def composed(file: JavaFile, tests: Sequence[str], about: Mapping[str, object], note: str) -> str:
    """A class in the package of the one that it is for, which compiles as it stands.

    Args:
        tests: methods with their annotations, indented.
        about: `base`, `adapter` and `seed`; none: no header. note: what was done with the tests.
    """
    head = ""
    if about:
        told = f"base {about['base']}, adapter {about['adapter']}, seed {about['seed']}"
        head = f"// Tests of {file.focal.name} {WRITTEN_BY} {suite.__version__}: {told}.\n// {note}\n"
    package = f"package {file.package};\n\n" if file.package else ""
    imports = "\n".join([*_IMPORTS[file.junit], *own_imports(file)])
    body = "\n\n".join(tests)
    return f"{head}{package}{imports}\n\npublic class {file.test_class} {{\n\n{body}\n}}\n"


def own_imports(file: JavaFile) -> list[str]:
    """The imports of the file itself: what its methods take and give back."""
    lines = (line.strip() for line in file.text.splitlines())
    return list(dict.fromkeys(line for line in lines if line.startswith("import ") and line.endswith(";")))
