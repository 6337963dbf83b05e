"""A stand-in for Maven and Gradle with JaCoCo and PIT: it reads `assertEquals(WANTED, new Counter().add(N))`, and
writes what the real tools report of the class `Counter` below, whose lines and branches its figures are of.

Installed as programs named `mvn` and `gradle`; runs in the sandbox, with the standard library alone.
"""

from __future__ import annotations

import re
import socket
import stat
import sys
from itertools import pairwise
from pathlib import Path

COUNTER = """package shop;

import java.util.List;

public class Counter {
  private int count = 0;

  public Counter() { }

  public int add(int by) {
    if (by < 0) {
      return -1;
    }
    count += by;
    return count > 9 ? 9 : count;
  }

  public int size(List<String> words) { return words.size(); }
}
"""
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>shop</groupId><artifactId>shop</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.junit.jupiter</groupId><artifactId>junit-jupiter</artifactId></dependency>
  </dependencies>
</project>
"""
GRADLE = """plugins { id 'java' }
repositories { mavenCentral() }
dependencies { testImplementation 'org.junit.jupiter:junit-jupiter:5.11.4' }
test { useJUnitPlatform() }
"""
MUTATORS = {11: "ConditionalsBoundary", 14: "Math", 15: "ConditionalsBoundary", 18: "PrimitiveReturns"}


def install(folder: Path, archives: tuple[str, ...]) -> dict[str, str]:
    """Programs, a local repository and a home of Gradle's in a folder; what the environment says of them.

    Args:
        archives: plugins that the repository has, `org/x/name`, and modules that Gradle's cache has, `org.x/name`.
    """
    programs, repository = folder / "bin", folder / "m2"
    programs.mkdir()
    repository.mkdir()
    text = f"#!{sys.executable} -SE\n{Path(__file__).read_text()}"
    for name in ("mvn", "gradle", "java", "javac"):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    cache = folder / "gradle-home" / "caches" / "modules-2"
    cache.mkdir(parents=True)
    for archive in archives:
        modules = archive.partition("/")[0].count(".")
        place = cache / "files-2.1" / archive / "0.8.12" / "0a1b" if modules else repository / archive / "0.8.12"
        place.mkdir(parents=True)
        (place / f"{archive.rpartition('/')[2]}-0.8.12.jar").write_bytes(b"")
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0))
    told = {"MAVEN_OPTS": f"-Dmaven.repo.local={repository}", "GRADLE_USER_HOME": str(folder / "gradle-home")}
    return {"PATH": f"{programs}:/usr/bin:/bin", **told}


def calls(body: str) -> list[tuple[int, int]]:
    return [(int(wanted), int(by)) for wanted, by in re.findall(r"\((-?\d+), new Counter\(\)\.add\((-?\d+)\)\)", body)]


def added(by: int) -> int:
    return -1 if by < 0 else min(by, 9)


def surefire(name: str, bodies: dict[str, str]) -> str:
    rows = []
    for test, body in bodies.items():
        wrong = [(wanted, by) for wanted, by in calls(body) if added(by) != wanted]
        told = f"expected: &lt;{wrong[0][0]}&gt; but was: &lt;{added(wrong[0][1])}&gt;" if wrong else ""
        failure = f'<failure message="{told}" type="AssertionFailedError"><![CDATA[{told}]]></failure>' if told else ""
        rows.append(f'<testcase name="{test}" classname="{name}" time="0.012">{failure}</testcase>')
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="{name}">{"".join(rows)}</testsuite>'


def jacoco(given: list[int], sized: bool) -> str:
    negative, other = [by for by in given if by < 0], [by for by in given if by >= 0]
    line11, line15 = bool(negative) + bool(other), len({by > 9 for by in other})
    rows = {
        11: (2 if given else 0, 0 if given else 2, line11, 2 - line11),
        12: (2 if negative else 0, 0 if negative else 2, 0, 0),
        14: (6 if other else 0, 0 if other else 6, 0, 0),
        15: (7 if line15 == 1 else 9 if line15 else 0, 2 if line15 == 1 else 0 if line15 else 9, line15, 2 - line15),
        18: (3 if sized else 0, 0 if sized else 3, 0, 0),
    }
    lines = "".join(
        f'<line nr="{nr}" mi="{mi}" ci="{ci}" mb="{mb}" cb="{cb}"/>' for nr, (ci, mi, cb, mb) in rows.items()
    )
    covered, missed = (sum(rows[nr][place] for nr in (11, 12, 14, 15)) for place in (0, 1))
    counter = f'<counter type="INSTRUCTION" missed="{missed}" covered="{covered}"/>'
    counter += f'<counter type="BRANCH" missed="{4 - line11 - line15}" covered="{line11 + line15}"/>'
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><!DOCTYPE report PUBLIC '
        '"-//JACOCO//DTD Report 1.1//EN" "report.dtd"><report name="shop">'
        '<sessioninfo id="x" start="1" dump="2"/><package name="shop">'
        '<class name="shop/Counter" sourcefilename="Counter.java"><method name="add" desc="(I)I" line="11">'
        f'{counter}</method></class><sourcefile name="Counter.java">{lines}</sourcefile></package></report>'
    )


def pit(given: list[int]) -> str:
    killed = {14: any(by not in (0,) and by > 0 for by in given), 11: 0 in given, 15: False, 18: False}
    rows = []
    for line, mutator in MUTATORS.items():
        state = "KILLED" if killed[line] else "NO_COVERAGE" if line == 18 else "SURVIVED"
        rows.append(
            f"<mutation detected='{str(state == 'KILLED').lower()}' status='{state}' numberOfTestsRun='1'>"
            "<sourceFile>Counter.java</sourceFile><mutatedClass>shop.Counter</mutatedClass>"
            f"<mutatedMethod>{'size' if line == 18 else 'add'}</mutatedMethod><methodDescription>(I)I"
            f"</methodDescription><lineNumber>{line}</lineNumber>"
            f"<mutator>org.pitest.mutationtest.engine.gregor.mutators.{mutator}Mutator</mutator>"
            f"<killingTests/><succeedingTests/><description>changed {mutator}</description></mutation>"
        )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<mutations partial="true">\n{"".join(rows)}\n</mutations>'


def gradle(words: list[str]) -> int:
    """What Gradle makes of a build: its reports lie where its plugins put them, and of JaCoCo's XML is none unasked."""
    given = dict(pairwise(words))
    module, script = Path(given["-p"]), Path(given["-I"]).read_text()
    if missing := {"--offline", "--no-daemon", "test"} - set(words):
        return failed(f"Could not GET a module: {missing}")
    build = next(path.read_text() for one in (module, *module.parents) for path in sorted(one.glob("build.gradle*")))
    if "unbuildable" in build:
        return failed("Could not resolve org.x:y:1.", "No cached version of org.x:y:1 available for offline mode.")
    socket.create_server(("127.0.0.1", 0)).close()  # its workers are talked with so
    Path(given["-g"]).mkdir()
    measured = "apply plugin: 'jacoco'" in script and "unmeasurable" not in build
    if "apply plugin: 'jacoco'" in script and not measured:
        return failed("No cached version of org.jacoco:org.jacoco.agent:0.8.12 available for offline mode.")
    bodies: dict[str, dict[str, str]] = {}
    for flag, one in pairwise(words):
        if flag != "--tests":
            continue
        name, method = re.fullmatch(r"(?:\*|[a-z.]+)?\.?([A-Z]\w*)(?:\.(\w+))?", one).groups()
        text = (module / "src/test/java/shop" / f"{name}.java").read_text()
        if "total(" in text:
            print(f"{module}/src/test/java/shop/{name}.java:9: error: cannot find symbol")
            return failed("Compilation failed; see the compiler error output for details.")
        found = re.findall(r"void (\w+)\(\) \{(.*?)\n  \}", text, re.DOTALL)
        bodies.setdefault(name, {}).update({test: body for test, body in found if method in (None, test)})
    asserted = [pair for some in bodies.values() for body in some.values() for pair in calls(body)]
    wrong = any(added(by) != wanted for wanted, by in asserted)
    results, report = module / "build/test-results/test", module / "build/reports/jacoco/test"
    results.mkdir(parents=True)
    for name, some in bodies.items():
        text = surefire(f"shop.{name}", {f"{test}()": body for test, body in some.items()})
        (results / f"TEST-shop.{name}.xml").write_text(text)
    if wrong and "ignoreFailures = true" not in script:
        return failed("There were failing tests.")
    if "jacocoTestReport" in words and measured and "xml.required" in script:
        report.mkdir(parents=True)
        sized = any(".size(" in body for some in bodies.values() for body in some.values())
        (report / "jacocoTestReport.xml").write_text(jacoco([by for _, by in asserted], sized))
    return 0


def failed(*causes: str) -> int:
    """A build that failed, as Gradle says it."""
    told = "".join(f"\n{'  ' * depth}> {cause}" for depth, cause in enumerate(causes))
    print(f"\nFAILURE: Build failed with an exception.\n\n* What went wrong:\nExecution failed for task ':x'.{told}\n")
    print("* Try:\n> Run with --stacktrace option to get the stack trace.\n\nBUILD FAILED in 3s")
    return 1


def main(words: list[str]) -> int:
    if Path(sys.argv[0]).name == "gradle":
        return gradle(words)
    options = dict(word[2:].partition("=")[::2] for word in words if word.startswith("-D"))
    module = Path(words[words.index("-f") + 1]).parent
    if "unbuildable" in (module / "pom.xml").read_text():
        print("[ERROR] Plugin org.x:y:1 could not be resolved in offline mode")
        return 1
    tests = module / "src/test/java/shop"
    wanted = options.get("test", options.get("targetTests", "")).split(",")
    bodies: dict[str, dict[str, str]] = {}
    for one in wanted:
        name, _, methods = one.rpartition(".")[2].partition("#")
        text = (tests / f"{name}.java").read_text()
        if "total(" in text:
            print("[ERROR] COMPILATION ERROR : \n[ERROR] cannot find symbol: method total(int)")
            return 1
        found = re.findall(r"void (\w+)\(\) \{(.*?)\n  \}", text, re.DOTALL)
        bodies[name] = {test: body for test, body in found if not methods or test in methods.split("+")}
    given = [by for some in bodies.values() for body in some.values() for _, by in calls(body)]
    target = module / "target"
    for folder in ("surefire-reports", "site/jacoco", "pit-reports"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for name, some in bodies.items():
        (target / "surefire-reports" / f"TEST-shop.{name}.xml").write_text(surefire(f"shop.{name}", some))
    if any(word.endswith(":report") for word in words):
        sized = any(".size(" in body for some in bodies.values() for body in some.values())
        (target / "site/jacoco/jacoco.xml").write_text(jacoco(given, sized))
    if any(word.endswith(":mutationCoverage") for word in words):
        if "pitest-junit5-plugin" not in (module / "pom.xml").read_text():
            print("[ERROR] PIT finds no test: pitest-junit5-plugin is no dependency of it")
            return 1
        (target / "pit-reports/mutations.xml").write_text(pit(given))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
